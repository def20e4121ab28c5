/// Requests at the edge of the grammar and beyond it; a few are fine, which must be seen too.
enum MalformedRequests {
    static let all: [Exchange] = {
        let lines: [(String, String)] = [
            ("plain", "GET /a HTTP/1.1\r\nHost: t.test\r\n\r\n"), ("no host", "GET /a HTTP/1.1\r\n\r\n"),
            ("two hosts", "GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
            ("same host twice", "GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
            ("empty host", "GET /a HTTP/1.1\r\nHost:\r\n\r\n"),
            ("host with a slash", "GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n"),
            ("host with a port", "GET /a HTTP/1.1\r\nHost: t.test:99\r\n\r\n"),
            ("host with a bad port", "GET /a HTTP/1.1\r\nHost: t.test:9x\r\n\r\n"),
            ("host with dots", "GET /a HTTP/1.1\r\nHost: t..test\r\n\r\n"),
            ("host ends with a dot", "GET /a HTTP/1.1\r\nHost: t.test.\r\n\r\n"),
            ("host in brackets", "GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
            ("host with a NUL", "GET /a HTTP/1.1\r\nHost: a\0b\r\n\r\n"),
            ("host with a space", "GET /a HTTP/1.1\r\nHost: a b\r\n\r\n"),
            ("host in capitals", "GET /a HTTP/1.1\r\nHost: T.TEST\r\n\r\n"),
            (
                "CL and TE",
                "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            (
                "TE and CL",
                "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
            ),
            ("two CL", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
            ("two CL, the same", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
            ("CL is a list", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5, 5\r\n\r\nhello"),
            ("CL no number", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: five\r\n\r\nhello"),
            ("CL negative", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: -5\r\n\r\nhello"),
            ("CL with a plus", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: +5\r\n\r\nhello"),
            ("CL in hex", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 0x5\r\n\r\nhello"),
            ("CL empty", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length:\r\n\r\n"),
            ("CL too large", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999999999999\r\n\r\n"),
            ("CL with spaces", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length:   5  \r\n\r\nhello"),
            ("CL with zeros", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 0005\r\n\r\nhello"),
            ("TE foo", "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: foo\r\n\r\n"),
            ("TE gzip, chunked", "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            (
                "TE chunked, chunked",
                "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"
            ),
            (
                "TE twice",
                "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            ("TE Chunked", "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"),
            ("TE identity", "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: identity\r\n\r\n"),
            ("TE in HTTP/1.0", "POST /a HTTP/1.0\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            ("TE with a space", "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
            (
                "TE with a vertical tab",
                "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: \u{0B}chunked\r\n\r\n0\r\n\r\n"
            ), ("TE empty", "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding:\r\n\r\n"),
            (
                "bad chunk size",
                "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"
            ),
            (
                "chunk too large",
                "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nhello\r\n"
            ),
            (
                "negative chunk",
                "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"
            ),
            (
                "chunk without its end",
                "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n"
            ),
            (
                "chunk extension",
                "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d\"\r\nhello\r\n0;z\r\n\r\n"
            ),
            (
                "chunk with spaces",
                "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5  \r\nhello\r\n0\r\n\r\n"
            ),
            ("chunks with bare LF", "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n"),
            (
                "chunk trailer",
                "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
            ),
            (
                "chunk in capitals",
                "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n000\r\n\r\n"
            ),
            ("space before colon", "GET /a HTTP/1.1\r\nHost: t\r\nX-A : b\r\n\r\n"),
            ("space in name", "GET /a HTTP/1.1\r\nHost: t\r\nX A: b\r\n\r\n"),
            ("tab before colon", "GET /a HTTP/1.1\r\nHost: t\r\nX-A\t: b\r\n\r\n"),
            ("no colon", "GET /a HTTP/1.1\r\nHost: t\r\nXA\r\n\r\n"),
            ("empty name", "GET /a HTTP/1.1\r\nHost: t\r\n: b\r\n\r\n"),
            ("obs-fold", "GET /a HTTP/1.1\r\nHost: t\r\nX-A: b\r\n c\r\n\r\n"),
            ("obs-fold first", "GET /a HTTP/1.1\r\n Host: t\r\n\r\n"),
            ("NUL in value", "GET /a HTTP/1.1\r\nHost: t\r\nX-A: b\0c\r\n\r\n"),
            ("NUL in name", "GET /a HTTP/1.1\r\nHost: t\r\nX\0A: b\r\n\r\n"),
            ("control in value", "GET /a HTTP/1.1\r\nHost: t\r\nX-A: b\u{01}c\u{7f}\r\n\r\n"),
            ("control in name", "GET /a HTTP/1.1\r\nHost: t\r\nX\u{01}A: b\r\n\r\n"),
            ("bare LF", "GET /a HTTP/1.1\nHost: t\nX-A: b\n\n"),
            ("bare CR in value", "GET /a HTTP/1.1\r\nHost: t\r\nX-A: b\rX-B: c\r\n\r\n"),
            ("CR CR LF", "GET /a HTTP/1.1\r\nHost: t\r\r\nX-A: b\r\n\r\n"),
            ("bytes above 127", "GET /a HTTP/1.1\r\nHost: t\r\nX-A: é\r\n\r\n"),
            ("empty lines before", "\r\n\r\nGET /a HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("LF before", "\n\nGET /a HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("space before", " GET /a HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("HTTP/2.0", "GET /a HTTP/2.0\r\nHost: t\r\n\r\n"), ("HTTP/1.2", "GET /a HTTP/1.2\r\nHost: t\r\n\r\n"),
            ("HTTP/1.10", "GET /a HTTP/1.10\r\nHost: t\r\n\r\n"),
            ("HTTP/0.9 with a version", "GET /a HTTP/0.9\r\nHost: t\r\n\r\n"),
            ("HTTP/1", "GET /a HTTP/1\r\nHost: t\r\n\r\n"), ("HTTP/1.", "GET /a HTTP/1.\r\nHost: t\r\n\r\n"),
            ("HTTP/11.1", "GET /a HTTP/11.1\r\nHost: t\r\n\r\n"), ("http/1.1", "GET /a http/1.1\r\nHost: t\r\n\r\n"),
            ("HTTP/1.1x", "GET /a HTTP/1.1x\r\nHost: t\r\n\r\n"),
            ("HTTP/1.0 without a host", "GET /a HTTP/1.0\r\n\r\n"), ("HTTP/0.9", "GET /a\r\n"),
            ("HTTP/0.9 POST", "POST /a\r\n"),
            ("two spaces", "GET  /a  HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("trailing space", "GET /a HTTP/1.1 \r\nHost: t\r\n\r\n"),
            ("tab in the line", "GET\t/a\tHTTP/1.1\r\nHost: t\r\n\r\n"),
            ("space in the target", "GET /a b HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("no target", "GET HTTP/1.1\r\nHost: t\r\n\r\n"), ("only a method", "GET\r\n\r\n"),
            ("target without a slash", "GET a HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("target with a NUL", "GET /a\0b HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("target with a control", "GET /a\u{01}b HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("TRACE", "TRACE /a HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("CONNECT", "CONNECT t.test:80 HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("unknown method", "FOO /a HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("method with a dash", "M-SEARCH /a HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("method with an underscore", "MY_OWN /a HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("lower-case method", "get /a HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("method with a digit", "GET1 /a HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("PROPFIND", "PROPFIND /a HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n"), ("GET *", "GET * HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("absolute", "GET http://abs.test/x?y HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("absolute without a path", "GET http://abs.test HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("absolute with a query only", "GET http://abs.test?q HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("absolute with a user", "GET http://u@abs.test/ HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("absolute, other scheme", "GET ftp://abs.test/ HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("absolute without a Host field", "GET http://abs.test/x HTTP/1.1\r\n\r\n"),
            ("absolute with a bad host", "GET http://a_b^/x HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("absolute with brackets", "GET http://[::1]:80/x HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            ("150 fields", "GET /a HTTP/1.1\r\nHost: t\r\n" + (0..<150).map { "X-\($0): \($0)\r\n" }.joined() + "\r\n"),
            ("GET with a body", "GET /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello"),
            ("GET with CL 0", "GET /a HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n"),
            ("POST without a length", "POST /a HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("PUT without a length", "PUT /a HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("Connection: close, x", "GET /a HTTP/1.1\r\nHost: t\r\nConnection: x, close\r\n\r\n"),
            ("TLS on a plain port", "\u{16}\u{03}\u{01}\u{02}"),
            ("dots in the line", "GET /a/../../b HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("to its own text", "GET /ok HTTP/1.1\r\nHost: t\r\n\r\n"),
            ("two Content-Types", "GET /a HTTP/1.1\r\nHost: t\r\nContent-Type: a\r\nContent-Type: b\r\n\r\n"),
            ("two Authorizations", "GET /a HTTP/1.1\r\nHost: t\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n"),
            (
                "two If-Modified-Since",
                "GET /a HTTP/1.1\r\nHost: t\r\nIf-Modified-Since: a\r\nIf-Modified-Since: b\r\n\r\n"
            ), ("two User-Agents", "GET /a HTTP/1.1\r\nHost: t\r\nUser-Agent: a\r\nUser-Agent: b\r\n\r\n"),
        ]
        return lines.map { Exchange.raw($0.0, $0.1) }
    }()
}
