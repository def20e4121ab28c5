internal import ParleyCore

/// Sagas for people.
public enum SagaText {
    private typealias Cell = TextTable.Cell

    public static func list(_ sagas: [SagaSummary], _ style: Style) -> String {
        guard !sagas.isEmpty else { return "no sagas" }
        var table = TextTable(
            columns: [
                .init(title: "KEY"), .init(title: "TYPE"), .init(title: "STYLE"), .init(title: "STATUS"),
                .init(title: "STATE"), .init(title: "UPDATED"), .init(title: "REASON"),
            ]
        )
        table.rows = sagas.map { saga in
            [
                Cell(Self.oneLine(saga.businessKey), .bold), Cell(saga.type), Cell(saga.style.rawValue),
                Cell(saga.status, Self.colour(saga.status)), Cell(saga.state ?? "-"), Cell(saga.updatedAt.description),
                Cell(saga.reason.map(Self.oneLine) ?? "-"),
            ]
        }
        return table.text(style)
    }

    public static func report(_ report: SagaReport, _ style: Style) -> String {
        let saga = report.saga
        func head(_ title: String) -> String { style.paint(title, .bold) }
        var lines: [String] = []
        for (name, value) in [
            ("saga", saga.id), ("key", saga.businessKey), ("type", "\(saga.type) (\(saga.style.rawValue))"),
            ("status", style.paint(saga.status, Self.colour(saga.status))), ("state", saga.state ?? ""),
            ("reason", saga.reason.map(Self.oneLine) ?? ""), ("next", saga.dueAt?.description ?? ""),
        ] where !value.isEmpty {
            lines.append(style.paint(name.padded(to: 8), .dim) + value)
        }
        func section(_ title: String, _ content: [String]) {
            guard !content.isEmpty else { return }
            lines += ["", head(title)] + content.map { "  " + $0 }
        }
        for edit in report.edits { section("Edited by hand", Self.edit(edit, style)) }
        section(
            "Timeline",
            report.timeline.map { line in
                let indent = String(repeating: "  ", count: min(20, line.depth))
                let who = line.who.map { style.paint("  \($0)", .dim) } ?? ""
                return "\(line.at)  \(indent)\(line.what)\(who)" + (line.detail.map { "  (\(Self.oneLine($0)))" } ?? "")
            }
        )
        section("Effects", report.effects.map { "\($0.what): \($0.status)" })
        section("Findings", report.findings.map { style.paint("\($0.kind): ", .yellow) + $0.message })
        section(
            "Awaited",
            report.awaited.map { awaited in
                let from = awaited.from.isEmpty ? "" : " from \(awaited.from.joined(separator: " or "))"
                let due = awaited.dueAt.map { ", due \($0)" } ?? ""
                return awaited.oneOf.joined(separator: " or ") + from + due
                    + (awaited.isLate ? style.paint(" (late)", .red) : "")
            }
        )
        section("Remaining", report.remaining.isEmpty ? [] : [report.remaining.joined(separator: ", ")])
        section(
            "Interventions",
            report.interventions.map { intervention in
                let by = intervention.by.isEmpty ? "" : " by \(intervention.by)"
                let events = intervention.events.joined(separator: ", ")
                return "\(intervention.at)  \(intervention.kind) \(events)\(by): \(Self.oneLine(intervention.because))"
            }
        )
        section("Next", report.commands)
        return lines.joined(separator: "\n")
    }

    public static func intervention(_ report: SagaInterventionReport, _ style: Style) -> String {
        let head = report.isDryRun ? "Nothing was done. \(report.intervention) would mean:" : "\(report.intervention):"
        let warnings = report.warnings.map { style.paint("  note: ", .yellow) + $0 }
        return ([head] + report.effects.map { "  " + $0 } + warnings).joined(separator: "\n")
    }

    private static func edit(_ edit: SagaReport.Edit, _ style: Style) -> [String] {
        func value(_ text: String?, _ none: String) -> String { text.map { "'\(Self.oneLine($0))'" } ?? none }
        let now = edit.content == "hash" ? "" : ", which is \(edit.content) now"
        let who = edit.storedBy.map { " by \($0)" } ?? ""
        let noticed = edit.noticedAt.map { " and \($0), when it was noticed" } ?? ""
        let between = noticed.isEmpty ? "after" : "between"
        return ["\(edit.key)\(now)"]
            + (edit.changes.isEmpty && edit.content == "hash" ? ["it is as it was stored again"] : [])
            + edit.changes.map { change in
                "\(Self.oneLine(change.field)): \(value(change.stored, "nothing")) → "
                    + style.paint(value(change.edited, "removed"), .yellow)
            }
            + [style.paint("\(between) the last step\(who) (\(edit.storedAt))\(noticed)", .dim)]
    }

    private static func colour(_ status: String) -> Style.Colour {
        switch status {
        case "stuck", "edited": .red
        case "late": .yellow
        case "completed": .green
        default: .plain
        }
    }

    private static func oneLine(_ text: String) -> String {
        let line = text.split(whereSeparator: \.isNewline).joined(separator: " ")
        return line.count > 160 ? line.prefix(159) + "…" : line
    }
}
