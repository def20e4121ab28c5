internal import Testing

/// The same configuration and the same requests, to nginx and to the gateway: status, fields, body, what the upstreams
/// received and which of them, and whether connections go on.
///
/// The gateway is the command at `PARLEY_BINARY`; with `PARLEY_DIFFERENTIAL_SUBJECT=nginx` it is nginx once more, which
/// must never differ from itself. A new scenario is one more element of a list in `Scenarios/`: a configuration with
/// placeholders (see ``Scenario``) and what is sent to it. An upstream behaves as the `X-Script` field of a request says
/// (see ``Script``). Where the gateway is to differ, ``WantedDifference`` says so, with a reason.
@Suite(.timeLimit(.minutes(10))) struct DifferentialTests {
    @Test(arguments: LocationScenarios.all) func locations(_ scenario: Scenario) async throws {
        try await Match.play(scenario)
    }

    @Test(arguments: RewriteScenarios.all) func rewriting(_ scenario: Scenario) async throws {
        try await Match.play(scenario)
    }

    @Test(arguments: HeaderScenarios.all) func headers(_ scenario: Scenario) async throws {
        try await Match.play(scenario)
    }

    @Test(arguments: MessageScenarios.all) func messages(_ scenario: Scenario) async throws {
        try await Match.play(scenario)
    }

    @Test(arguments: UpstreamScenarios.selection) func selection(_ scenario: Scenario) async throws {
        try await Match.play(scenario)
    }

    @Test(arguments: UpstreamScenarios.failures) func failures(_ scenario: Scenario) async throws {
        try await Match.play(scenario)
    }

    @Test(arguments: UpstreamScenarios.timing) func timing(_ scenario: Scenario) async throws {
        try await Match.play(scenario)
    }

    @Test(arguments: UpstreamScenarios.connections) func connections(_ scenario: Scenario) async throws {
        try await Match.play(scenario)
    }

    @Test(arguments: PolicyScenarios.limits) func limits(_ scenario: Scenario) async throws {
        try await Match.play(scenario)
    }

    @Test(arguments: PolicyScenarios.access) func access(_ scenario: Scenario) async throws {
        try await Match.play(scenario)
    }

    @Test(arguments: ServerScenarios.all) func servers(_ scenario: Scenario) async throws {
        try await Match.play(scenario)
    }
}
