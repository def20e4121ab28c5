internal import ParleyGateway
internal import Yams

extension GatewaySchema {
    static var rewrites: GatewayCodec<[RewriteStep]> { .list(self.step(depth: 0)) }

    /// Deeper nesting of `if` is a mistake; nginx allows none at all.
    private static let maxDepth = 8

    private static func step(depth: Int) -> GatewayCodec<RewriteStep> {
        // Made when a step is read or written, since steps contain steps.
        GatewayCodec { node, name, reading in
            Step.codec(depth: depth).read(node, name, reading).flatMap { step in
                if let model = step.model { return model }
                reading.problem(node, "'\(name)' needs one of the keys: set, rewrite, return, break, if")
                return nil
            }
        } write: {
            Step.codec(depth: depth).write(Step(model: $0))
        }
    }

    /// A step as its keys say it: exactly one of them is there.
    private struct Step: Equatable {
        struct Set: Equatable {
            var variable = ""
            var value = Template("")
        }

        struct Rewrite: Equatable {
            var regex = RegexModel(pattern: "")
            var to = Template("")
            var flag = RewriteStep.Flag.none
        }

        var set: Set?
        var rewrite: Rewrite?
        var respond: FixedResponse?
        var stops = false
        var condition: RewriteCondition?
        var steps: [RewriteStep] = []

        init() {}

        init(model: RewriteStep) {
            switch model {
            case .set(let variable, let value): self.set = Set(variable: variable, value: value)
            case .rewrite(let regex, let to, let flag): self.rewrite = Rewrite(regex: regex, to: to, flag: flag)
            case .respond(let response): self.respond = response
            case .stop: self.stops = true
            case .when(let condition, let steps):
                self.condition = condition
                self.steps = steps
            }
        }

        var model: RewriteStep? {
            if let set { return .set(variable: set.variable, value: set.value) }
            if let rewrite { return .rewrite(rewrite.regex, replacement: rewrite.to, flag: rewrite.flag) }
            if let respond { return .respond(respond) }
            if let condition { return .when(condition, self.steps) }
            return self.stops ? .stop : nil
        }

        static func codec(depth: Int) -> GatewayCodec<Step> {
            .section(
                Step(),
                [
                    .init(
                        "set",
                        \.set,
                        .optional(
                            .section(
                                Set(),
                                [
                                    .init("variable", \.variable, .text, isRequired: true),
                                    .init("value", \.value, .template, isRequired: true),
                                ]
                            )
                        )
                    ),
                    .init(
                        "rewrite",
                        \.rewrite,
                        .optional(
                            .section(
                                Rewrite(),
                                [
                                    .init("regex", \.regex, .regex, isRequired: true),
                                    .init("to", \.to, .template, isRequired: true),
                                    .init("flag", \.flag, GatewaySchema.flag),
                                ]
                            )
                        )
                    ),
                    .init("return", \.respond, .optional(GatewaySchema.response)),
                    .init("break", \.stops, .flag),
                    .init("if", \.condition, .optional(GatewaySchema.condition)),
                    .init("then", \.steps, Self.nested(depth: depth)),
                ]
            )
        }

        private static func nested(depth: Int) -> GatewayCodec<[RewriteStep]> {
            GatewayCodec { node, name, reading in
                guard depth < GatewaySchema.maxDepth else {
                    reading.problem(node, "'\(name)' is nested deeper than \(GatewaySchema.maxDepth)")
                    return nil
                }
                return GatewayCodec<[RewriteStep]>.list(GatewaySchema.step(depth: depth + 1)).read(node, name, reading)
            } write: {
                GatewayCodec<[RewriteStep]>.list(GatewaySchema.step(depth: depth + 1)).write($0)
            }
        }
    }

    private static var flag: GatewayCodec<RewriteStep.Flag> {
        GatewayCodec<RewriteStep.Flag>.word([.last, .break, .redirect, .permanent])
    }

    /// A status alone, or `{status: 200, text: …}`.
    static var response: GatewayCodec<FixedResponse> {
        let status = GatewayCodec<Int>.number(0...999)
        return GatewayCodec<FixedResponse>.section(
            FixedResponse(status: 0),
            [
                .init("status", \.status, status, isRequired: true),
                .init("text", \.text, .optional(.template)),
            ]
        ).orWord { node, name, reading in
            status.read(node, name, reading).map { FixedResponse(status: $0) }
        } _: { response in
            response.text == nil ? status.write(response.status) : nil
        }
    }

    /// A template that must be true, or a mapping with one comparison.
    private static var condition: GatewayCodec<RewriteCondition> {
        struct Comparison: Equatable {
            var value = Template("")
            var equals: Template?
            var differs: Template?
            var matches: RegexModel?
            var matchesNot: RegexModel?
        }
        let comparison = GatewayCodec<Comparison>.section(
            Comparison(),
            [
                .init("value", \.value, .template, isRequired: true),
                .init("equals", \.equals, .optional(.template)),
                .init("differs", \.differs, .optional(.template)),
                .init("matches", \.matches, .optional(.regex)),
                .init("matches_not", \.matchesNot, .optional(.regex)),
            ]
        )
        return comparison.map { (parts: Comparison) -> RewriteCondition in
            if let other = parts.equals { return .equals(parts.value, other) }
            if let other = parts.differs { return .differs(parts.value, other) }
            if let regex = parts.matches { return .matches(parts.value, regex) }
            if let regex = parts.matchesNot { return .matchesNot(parts.value, regex) }
            return .isTrue(parts.value)
        } _: { (condition: RewriteCondition) -> Comparison in
            switch condition {
            case .isTrue(let value): Comparison(value: value)
            case .equals(let value, let other): Comparison(value: value, equals: other)
            case .differs(let value, let other): Comparison(value: value, differs: other)
            case .matches(let value, let regex): Comparison(value: value, matches: regex)
            case .matchesNot(let value, let regex): Comparison(value: value, matchesNot: regex)
            }
        }
    }
}
