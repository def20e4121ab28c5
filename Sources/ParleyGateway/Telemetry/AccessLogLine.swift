internal import NIOCore
internal import ParleyCore

/// Writes lines of the access log, byte by byte.
enum AccessLogLine {
    /// The members of the gateway's own log, in the order in which they stand.
    static let members = [
        "time", "request_id", "client", "method", "host", "path", "protocol", "status", "bytes_in", "bytes_out",
        "duration_us", "upstream", "upstream_status", "upstream_connect_time", "upstream_header_time",
        "upstream_response_time", "route", "flags", "retries", "user_agent", "traceparent",
    ]

    static func writeJSON(
        _ facts: AccessLogFacts,
        route: [UInt8],
        scope: some VariableScope,
        into buffer: inout ByteBuffer
    ) {
        buffer.writeStaticString("{\"time\":\"")
        RFC3339.write(facts.time.microseconds, into: &buffer)
        buffer.writeInteger(UInt8(ascii: "\""))
        Self.member(",\"request_id\":", .requestID, scope, &buffer)
        Self.member(",\"client\":", .remoteAddress, scope, &buffer)
        Self.member(",\"method\":", .requestMethod, scope, &buffer)
        Self.member(",\"host\":", .host, scope, &buffer)
        Self.member(",\"path\":", .requestURI, scope, &buffer)
        Self.member(",\"protocol\":", .serverProtocol, scope, &buffer)
        Self.number(",\"status\":", Int64(facts.status), &buffer)
        Self.number(",\"bytes_in\":", facts.bytesIn, &buffer)
        Self.number(",\"bytes_out\":", facts.bytesOut, &buffer)
        Self.number(",\"duration_us\":", facts.durationMicroseconds, &buffer)
        Self.member(",\"upstream\":", .upstreamAddress, scope, &buffer)
        Self.member(",\"upstream_status\":", .upstreamStatus, scope, &buffer)
        Self.member(",\"upstream_connect_time\":", .upstreamConnectTime, scope, &buffer)
        Self.member(",\"upstream_header_time\":", .upstreamHeaderTime, scope, &buffer)
        Self.member(",\"upstream_response_time\":", .upstreamResponseTime, scope, &buffer)
        buffer.writeStaticString(",\"route\":")
        if route.isEmpty {
            buffer.writeStaticString("null")
        } else {
            buffer.writeInteger(UInt8(ascii: "\""))
            let start = buffer.writerIndex
            buffer.writeBytes(route)
            LogEscape.json(&buffer, from: start, repairsUTF8: true)
            buffer.writeInteger(UInt8(ascii: "\""))
        }
        buffer.writeStaticString(",\"flags\":\"")
        facts.flags.write(into: &buffer)
        buffer.writeInteger(UInt8(ascii: "\""))
        Self.number(",\"retries\":", Int64(facts.retries), &buffer)
        Self.member(",\"user_agent\":", .requestField("user_agent"), scope, &buffer)
        Self.member(",\"traceparent\":", .traceparent, scope, &buffer)
        buffer.writeStaticString("}\n")
    }

    /// nginx writes `-` for a variable without a value when it escapes by its default. Here, as in our other logs, a
    /// value that is there and empty is taken for none.
    static func write(
        _ template: Template,
        escape: LogFormatModel.Escape,
        scope: some VariableScope,
        into buffer: inout ByteBuffer
    ) {
        for part in template.parts {
            switch part {
            case .text(let bytes): buffer.writeBytes(bytes)
            case .variable(let variable):
                let start = buffer.writerIndex
                scope.write(variable, into: &buffer)
                switch escape {
                case .standard:
                    if buffer.writerIndex == start {
                        buffer.writeInteger(UInt8(ascii: "-"))
                    } else {
                        LogEscape.standard(&buffer, from: start)
                    }
                case .json: LogEscape.json(&buffer, from: start, repairsUTF8: false)
                case .none: break
                }
            }
        }
        buffer.writeInteger(UInt8(ascii: "\n"))
    }

    private static func member(
        _ key: StaticString,
        _ variable: Variable,
        _ scope: some VariableScope,
        _ buffer: inout ByteBuffer
    ) {
        buffer.writeStaticString(key)
        let quote = buffer.writerIndex
        buffer.writeInteger(UInt8(ascii: "\""))
        let start = buffer.writerIndex
        scope.write(variable, into: &buffer)
        if buffer.writerIndex == start {
            buffer.moveWriterIndex(to: quote)
            buffer.writeStaticString("null")
        } else {
            LogEscape.json(&buffer, from: start, repairsUTF8: true)
            buffer.writeInteger(UInt8(ascii: "\""))
        }
    }

    private static func number(_ key: StaticString, _ value: Int64, _ buffer: inout ByteBuffer) {
        buffer.writeStaticString(key)
        DecimalText.write(value, into: &buffer)
    }
}

enum DecimalText {
    static func write(_ value: Int64, into buffer: inout ByteBuffer) {
        if value < 0 { buffer.writeInteger(UInt8(ascii: "-")) }
        Self.write(value.magnitude, width: 1, into: &buffer)
    }

    /// At least `width` digits.
    static func write(_ value: UInt64, width: Int, into buffer: inout ByteBuffer) {
        var divisor: UInt64 = 1
        var digits = 1
        while digits < 20, digits < width || value / divisor >= 10 {
            divisor *= 10
            digits += 1
        }
        while divisor > 0 {
            buffer.writeInteger(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value / divisor % 10))
            divisor /= 10
        }
    }
}

/// `2026-11-23T09:15:00.250123Z`, without a string in between.
enum RFC3339 {
    static func write(_ microseconds: Int64, into buffer: inout ByteBuffer) {
        // Before 1970 and after 9999 no request is answered.
        let total = UInt64(max(0, min(microseconds, 253_402_300_799_999_999)))
        let (days, rest) = total.quotientAndRemainder(dividingBy: 86_400_000_000)
        // Gregorian calendar in eras of 400 years, from the 1st of March of the year 0.
        let shifted = days + 719_468
        let (era, dayOfEra) = shifted.quotientAndRemainder(dividingBy: 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        DecimalText.write(year, width: 4, into: &buffer)
        buffer.writeInteger(UInt8(ascii: "-"))
        DecimalText.write(month, width: 2, into: &buffer)
        buffer.writeInteger(UInt8(ascii: "-"))
        DecimalText.write(day, width: 2, into: &buffer)
        buffer.writeInteger(UInt8(ascii: "T"))
        DecimalText.write(rest / 3_600_000_000, width: 2, into: &buffer)
        buffer.writeInteger(UInt8(ascii: ":"))
        DecimalText.write(rest / 60_000_000 % 60, width: 2, into: &buffer)
        buffer.writeInteger(UInt8(ascii: ":"))
        DecimalText.write(rest / 1_000_000 % 60, width: 2, into: &buffer)
        buffer.writeInteger(UInt8(ascii: "."))
        DecimalText.write(rest % 1_000_000, width: 6, into: &buffer)
        buffer.writeInteger(UInt8(ascii: "Z"))
    }
}
