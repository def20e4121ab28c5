extension NginxTable {
    mutating func addLogs() {
        self.add("log_format", .http, 2...Int.max, repeats: true) { (reader, _, directive) throws(NginxProblem) in
            try reader.logFormat(directive)
        }
        let reset: @Sendable (inout NginxScope) -> Void = { scope in
            scope.settings.accessLogs = []
            scope.settings.isLogged = true
        }
        self.list("access_log", .everyLevel, 1...Int.max, reset: reset) {
            (reader, scope, directive) throws(NginxProblem) in
            if directive.argument(0).text == "off" {
                guard directive.arguments.count == 1 else {
                    throw directive.invalidParameter(directive.argument(1))
                }
                scope.settings.isLogged = false
            } else {
                scope.settings.accessLogs.append(try reader.accessLog(directive))
            }
        }
    }
}

extension NginxReader {
    mutating func logFormat(_ directive: NginxDirective) throws(NginxProblem) {
        let name = directive.argument(0)
        guard self.formats[name.text.lowercased()] == nil else {
            throw NginxProblem("duplicate \"log_format\" name \"\(name.text)\"", at: name.place)
        }
        self.formats[name.text.lowercased()] = Format(name: name.text, order: name.place.order)
        var escape = LogFormatModel.Escape.standard
        var words = directive.arguments.dropFirst()
        if let value = words.first?.value(of: "escape=") {
            guard let written = LogFormatModel.Escape(rawValue: value.text) else {
                throw NginxProblem("unknown log format escaping \"\(value.text)\"", at: value.place)
            }
            escape = written
            words = words.dropFirst()
        }
        var line = Template("")
        for word in words {
            for part in try self.template(word).parts {
                if case .text(let bytes) = part, case .text(let before)? = line.parts.last {
                    line.parts[line.parts.count - 1] = .text(before + bytes)
                } else {
                    line.parts.append(part)
                }
            }
        }
        self.model.logFormats.append(LogFormatModel(name: name.text, escape: escape, line: line))
    }

    mutating func accessLog(_ directive: NginxDirective) throws(NginxProblem) -> AccessLogUse {
        let path = directive.argument(0)
        if path.text.hasPrefix("syslog:") {
            throw NginxProblem("logging to syslog is not supported", at: path.place, hint: "log to /dev/stdout")
        }
        guard !path.bytes.contains(0x24) else {
            throw NginxProblem("variables in the name of a log are not supported", at: path.place)
        }
        var use = AccessLogUse(path: path.text, format: "combined")
        if directive.arguments.count > 1 {
            let name = directive.argument(1)
            guard let format = self.formats[name.text.lowercased()], format.order < name.place.order else {
                throw NginxProblem(
                    "unknown log format \"\(name.text)\"",
                    at: name.place,
                    hint: "write log_format above"
                )
            }
            use.format = format.name
        }
        var isBuffered = false
        var flush: NginxWord?
        for word in directive.arguments.dropFirst(2) {
            if let value = word.value(of: "if=") {
                use.condition = try self.template(value)
            } else if let value = word.value(of: "buffer=") {
                guard let size = NginxValue.size(value.bytes), size > 0 else {
                    throw NginxProblem("invalid buffer size \"\(value.text)\"", at: word.place)
                }
                isBuffered = true
            } else if let value = word.value(of: "flush=") {
                guard let time = NginxValue.milliseconds(value.bytes), time > 0 else {
                    throw NginxProblem("invalid flush time \"\(value.text)\"", at: word.place)
                }
                flush = word
            } else if word.text == "gzip" || word.text.hasPrefix("gzip=") {
                throw NginxProblem("compressed logs are not supported", at: word.place, hint: "leave out \"gzip\"")
            } else {
                throw directive.invalidParameter(word)
            }
        }
        if flush != nil, !isBuffered {
            throw NginxProblem("no buffer is defined for access_log \"\(path.text)\"", at: path.place)
        }
        return use
    }
}
