#ifndef PARLEY_CZLIB_H
#define PARLEY_CZLIB_H

#include <zlib.h>

#endif
