public import ParleyRabbitMQ

/// A plan for people.
public enum PlanText {
    public static func text(_ plan: TopologyPlan, _ style: Style) -> String {
        var lines = plan.steps.flatMap { Self.lines(of: $0, style) }
        if !plan.unmanaged.isEmpty {
            if !lines.isEmpty { lines.append("") }
            lines.append(style.paint("Not in the file, and left alone (--prune deletes them):", .dim))
            lines += plan.unmanaged.map { style.paint("  ? " + Self.name($0), .dim) }
        }
        if !lines.isEmpty { lines.append("") }
        return (lines + [Self.summary(plan)]).joined(separator: "\n")
    }

    /// `3 to create, 1 to change, …`, or that nothing is to be done.
    public static func summary(_ plan: TopologyPlan) -> String {
        guard !plan.isEmpty else { return "Nothing to do: the broker is as the file says." }
        let counts = [TopologyPlan.Action.create, .change, .replace, .delete]
            .map { "\(plan.count($0)) to \($0.rawValue)" }.joined(separator: ", ")
        let refused = plan.refused.count
        return counts + (refused == 0 ? "." : "; \(refused) not allowed.")
    }

    public static func lines(of step: TopologyPlan.Step, _ style: Style) -> [String] {
        let (mark, colour): (String, Style.Colour) =
            switch step.action {
            case .create: ("+", .green)
            case .change: ("~", .yellow)
            case .replace: ("±", .red)
            case .delete: ("-", .red)
            }
        var lines = [style.paint("  \(mark) \(Self.name(step.resource))", colour)]
        let width = step.fields.map(\.field.count).max() ?? 0
        for field in step.fields {
            let name = style.paint(field.field.padded(to: width), .dim)
            lines.append("        \(name)  \(Self.change(field, step.action))")
        }
        if let note = step.note { lines.append("        " + style.paint(note, .dim)) }
        if let refusal = step.refusal { lines.append("        " + style.paint("not allowed: " + refusal, .red)) }
        return lines
    }

    /// `queue       shop/orders`
    public static func name(_ resource: TopologyPlan.Resource) -> String {
        let kind = resource.kind.rawValue
        let host = resource.virtualHost.map { $0.hasSuffix("/") ? $0 : $0 + "/" } ?? ""
        return kind.padded(to: 12) + host + resource.name
    }

    private static func change(_ field: TopologyPlan.FieldChange, _ action: TopologyPlan.Action) -> String {
        func shown(_ value: String?) -> String { value.map { $0.isEmpty ? "(empty)" : $0 } ?? "(not set)" }
        return action == .create ? shown(field.after) : "\(shown(field.before)) → \(shown(field.after))"
    }
}

/// A plan for scripts.
public struct PlanView: Encodable, Sendable {
    struct Change: Encodable, Sendable {
        var field: String
        var before: String?
        var after: String?

        private enum CodingKeys: String, CodingKey { case field, before, after }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(self.field, forKey: .field)
            try container.encode(self.before, forKey: .before)
            try container.encode(self.after, forKey: .after)
        }
    }

    struct Thing: Encodable, Sendable {
        var kind: String
        var vhost: String?
        var name: String

        init(_ resource: TopologyPlan.Resource) {
            self.kind = resource.kind.rawValue
            self.vhost = resource.virtualHost
            self.name = resource.name
        }
    }

    struct Step: Encodable, Sendable {
        var action: String
        var resource: Thing
        var changes: [Change]
        var refusal: String?
        var note: String?

        init(_ step: TopologyPlan.Step) {
            self.action = step.action.rawValue
            self.resource = Thing(step.resource)
            self.changes = step.fields.map { Change(field: $0.field, before: $0.before, after: $0.after) }
            self.refusal = step.refusal
            self.note = step.note
        }
    }

    var create: Int
    var change: Int
    var replace: Int
    var delete: Int
    var refused: Int
    var steps: [Step]
    var unmanaged: [Thing]
    /// How many steps were done; absent when none was to be.
    public var done: Int?

    public init(_ plan: TopologyPlan, done: Int? = nil) {
        self.create = plan.count(.create)
        self.change = plan.count(.change)
        self.replace = plan.count(.replace)
        self.delete = plan.count(.delete)
        self.refused = plan.refused.count
        self.steps = plan.steps.map { Step($0) }
        self.unmanaged = plan.unmanaged.map { Thing($0) }
        self.done = done
    }
}
