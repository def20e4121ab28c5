import ParleyCore
import ParleySagas
import Testing

@Suite(.timeLimit(.minutes(1)))
struct ChoreographyLinterTests {
    private func rules(_ change: (inout Choreography) throws -> Void) throws -> [String] {
        var choreography = try OrderChoreography.load()
        try change(&choreography)
        return ChoreographyLinter.check(choreography).map(\.rule)
    }

    @Test func theOrderFlowIsClean() throws {
        #expect(ChoreographyLinter.check(try OrderChoreography.load()) == [])
    }

    @Test func whatIsWrittenIsReadBack() throws {
        let choreography = try OrderChoreography.load()
        let again = try Choreography.read(json: Array(choreography.canonicalJSON.utf8))
        #expect(again == [choreography])
        #expect(again.first?.fingerprint == choreography.fingerprint)
        var other = choreography
        other.stuckAfter = .milliseconds(1_023)
        #expect(other.fingerprint != choreography.fingerprint)
        #expect(try Choreography.read(json: Array(other.canonicalJSON.utf8)).first?.stuckAfter == .milliseconds(1_023))
    }

    @Test(arguments: [
        ("[1]", "the file"), (#"{"a": {"events": {}}}"#, "starts_with"),
        (#"{"a": {"starts_with": "x", "events": {"x": {"by": 7}}}}"#, "a.events.x.by"),
        (#"{"a": {"starts_with": "x", "events": {"x": {"by": "b", "ends": "well"}}}}"#, "a.events.x.ends"),
        ("{", "JSON"),
    ])
    func garbageIsRefusedWithItsPlace(_ json: String, _ place: String) throws {
        let error = #expect(throws: SagaError.self) { try Choreography.read(json: Array(json.utf8)) }
        #expect(error?.code == .invalidDefinition)
        #expect(error?.message.contains(place) == true, "\(error?.message ?? "")")
    }

    @Test func tooManyEventsAreRefused() throws {
        func file(_ count: Int) -> [UInt8] {
            let events = (0..<count).map { #""e\#($0)": {"by": "b"}"# }.joined(separator: ",")
            return Array(#"{"a": {"starts_with": "e0", "events": {\#(events)}}}"#.utf8)
        }
        #expect(try Choreography.read(json: file(Choreography.maximumEvents)).count == 1)
        #expect(throws: SagaError.self) { try Choreography.read(json: file(Choreography.maximumEvents + 1)) }
    }

    @Test func unknownFieldsAreErrorsWithTheirPath() throws {
        let json = OrderChoreography.json.replacing(#""ends": "success""#, with: #""ends": "success", "colour": "red""#)
            .replacing(
                #"["inventory.reserved", "inventory.failed"],"#,
                with: #"["inventory.reserved", "inventory.failed"], "in": 5,"#
            )
        let findings = ChoreographyLinter.check(try #require(try Choreography.read(json: Array(json.utf8)).first))
        #expect(findings.map(\.rule) == ["C003", "C003"])
        #expect(findings.allSatisfy { $0.severity == .error })
        #expect(findings.contains { $0.message.contains("events.order.confirmed.colour") })
        #expect(findings.contains { $0.message.contains("events.order.created.then[0].in") })
    }

    @Test func eachMistakeHasItsRule() throws {
        #expect(try self.rules { $0.start = "nothing" }.contains("C001"))
        #expect(try self.rules { $0.events["payment.failed"]?.then[0].oneOf = ["nowhere"] }.contains("C002"))
        #expect(try self.rules { $0.events["payment.failed"]?.then[0].oneOf = [] }.contains("C002"))
        #expect(try self.rules { $0.events["alone"] = .init(by: "x", end: .failure) } == ["C004"])
        #expect(try self.rules { $0.events["order.confirmed"]?.end = .failure }.contains("C005"))
        #expect(try self.rules { $0.events["payment.failed"]?.then = [] }.contains("C006"))
        #expect(
            try self.rules { $0.events["order.confirmed"]?.then = [.one(of: "order.cancelled", within: .seconds(1))] }
                == ["C008"]
        )
        #expect(try self.rules { $0.events["order.created"]?.then[0].within = nil } == ["C009"])
        #expect(try self.rules { $0.events["inventory.released"]?.compensates = nil }.contains("C011"))
        #expect(try self.rules { $0.events["inventory.released"]?.compensates = "nothing" }.contains("C012"))
        #expect(try self.rules { $0.events["order.cancelling"]?.askedBy = nil }.filter { $0 == "C013" }.count == 2)
        #expect(try self.rules { $0.events["order.created"]?.by = "" } == ["C014"])
        #expect(
            try self.rules {
                $0.events["order.created"]?.then.append(.one(of: "inventory.failed", within: .seconds(1)))
            }
                == ["C015"]
        )
        #expect(try self.rules { $0.events["order.cancelling"]?.askedBy = "order.created" } == ["C016"])
    }

    @Test func aCircleNeedsABound() throws {
        func circle(_ bound: Int) throws -> [String] {
            try self.rules {
                $0.events["payment.failed"]?.then[0].oneOf.append("payment.retried")
                $0.events["payment.retried"] = .init(
                    by: "payment-service",
                    then: [.one(of: "payment.processed", "payment.failed", within: .seconds(5))],
                    atMost: bound
                )
            }
        }
        #expect(try circle(1) == ["C007", "C007"])
        #expect(try circle(3) == [])
    }

    @Test func stockThatIsNeverGivenBackIsFoundWithTheWayThere() throws {
        var choreography = try OrderChoreography.load()
        choreography.events["payment.failed"]?.then = [.one(of: "order.cancelled", within: .seconds(5))]
        let finding = try #require(ChoreographyLinter.check(choreography).first { $0.rule == "C010" })
        #expect(finding.severity == .error)
        #expect(
            finding.message.contains("order.created, inventory.reserved, payment.failed, order.cancelled"),
            "\(finding.message)"
        )
    }
}
