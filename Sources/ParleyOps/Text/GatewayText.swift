package import ParleyGateway

/// A gateway's status, records and replays for people.
package enum GatewayText {
    private typealias Cell = TextTable.Cell

    package static func status(_ status: GatewayStatus, _ style: Style) -> String {
        var lines = [
            "configuration \(status.generation), in force since \(status.since)"
                + (status.isDraining ? ", draining" : "") + ", \(status.connections) connections"
        ]
        lines += status.listeners.map { listener in
            "listening on \(listener.address)"
                + (listener.servers.isEmpty ? "" : " for \(listener.servers.joined(separator: ", "))")
        }
        if !status.upstreams.isEmpty { lines += ["", Self.peers(status.upstreams, style)] }
        if !status.zones.isEmpty { lines += ["", Self.zones(status.zones, style)] }
        return lines.joined(separator: "\n")
    }

    private static func peers(_ upstreams: [GatewayStatus.Upstream], _ style: Style) -> String {
        var table = TextTable(
            columns: [
                .init(title: "UPSTREAM"), .init(title: "METHOD"), .init(title: "INSTANCE"),
                .init(title: "WEIGHT", isNumber: true), .init(title: "ACTIVE", isNumber: true),
                .init(title: "FAILS", isNumber: true), .init(title: "STATE"), .init(title: "UNTIL"),
                .init(title: "WHY"),
            ]
        )
        for upstream in upstreams {
            for peer in upstream.peers {
                let isWell = peer.state == .available || peer.state == .backup
                table.rows.append([
                    Cell(upstream.name, .bold), Cell(upstream.method), Cell(peer.name), Cell(peer.weight),
                    Cell(peer.activeRequests), Cell(peer.fails),
                    Cell(peer.state.rawValue, isWell ? .green : .red),
                    Cell(peer.until.map { "\($0)" } ?? "-"), Cell(peer.reason ?? "-"),
                ])
            }
            if upstream.peers.isEmpty {
                table.rows.append([
                    Cell(upstream.name, .bold), Cell(upstream.method), Cell("none", .red), Cell("-"), Cell("-"),
                    Cell("-"), Cell("-"), Cell("-"), Cell("-"),
                ])
            }
        }
        return table.text(style)
    }

    private static func zones(_ zones: [GatewayStatus.Zone], _ style: Style) -> String {
        var table = TextTable(
            columns: [
                .init(title: "ZONE"), .init(title: "KIND"), .init(title: "KEYS", isNumber: true),
                .init(title: "BYTES", isNumber: true), .init(title: "OF", isNumber: true),
            ]
        )
        table.rows = zones.map { zone in
            [
                Cell(zone.name, .bold), Cell(zone.kind.rawValue), Cell(zone.keys), Cell(zone.usedBytes),
                Cell(zone.maxBytes),
            ]
        }
        return table.text(style)
    }

    package static func records(_ records: [ExchangeRecord], _ style: Style) -> String {
        guard !records.isEmpty else { return "no records: every request went well" }
        var table = TextTable(
            columns: [
                .init(title: "REQUEST"), .init(title: "TIME"), .init(title: "STATUS", isNumber: true),
                .init(title: "FLAGS"), .init(title: "ROUTE"), .init(title: "WHY"),
            ]
        )
        table.rows = records.map { record in
            [
                Cell(Self.shown(record.id), .bold), Cell("\(record.time)"),
                Cell(record.status, record.status >= 500 ? .red : .plain), Cell(record.flags.text),
                Cell(record.route ?? "-"), Cell(Self.shown(record.why)),
            ]
        }
        return table.text(style)
    }

    package static func replay(_ report: ReplayReport, _ style: Style) -> String {
        var lines = report.first.map { difference in
            let request = "\(difference.line): \(difference.method) \(difference.host)\(difference.target)"
            return style.paint(Self.shown(request), .bold) + "\n  - \(Self.shown(difference.before))\n  + "
                + Self.shown(difference.after)
        }
        if report.differences > report.first.count {
            lines.append("… and \(report.differences - report.first.count) more")
        }
        var sum = "\(report.requests) requests, \(report.differences) would be answered differently"
        if report.unreadableLines > 0 { sum += ", \(report.unreadableLines) lines could not be read" }
        return (lines + [sum]).joined(separator: "\n")
    }

    /// Words of clients reach a terminal.
    private static func shown(_ text: String) -> String {
        String(text.unicodeScalars.map { $0.value < 0x20 || (0x7F..<0xA0).contains($0.value) ? "·" : Character($0) })
    }
}
