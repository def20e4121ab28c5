import NIOCore
import Testing

@testable import ParleyGateway

@Suite struct CompiledRegexTests {
    @Test func matchesAndCaptures() throws {
        let regex = try CompiledRegex("^/(a)?(b)(?<rest>.*)$")
        #expect(regex.groupCount == 3)
        #expect(regex.names == [.init(name: "rest", number: 3)])
        var variables = RequestVariables()
        let scratch = RegexScratch()
        #expect(regex.matches(ByteBuffer(string: "/bcd"), scratch: scratch, variables: &variables))
        #expect((1...3).map { variables.capture($0).map { String(buffer: $0) } } == ["", "b", "cd"])
        #expect(variables.value("rest").map { String(buffer: $0) } == "cd")
        #expect(!regex.matches(ByteBuffer(string: "/x"), scratch: scratch, variables: &variables))
        #expect(variables.capture(2).map { String(buffer: $0) } == "b")
        #expect(scratch.takeFailure() == nil)
    }

    @Test func aMatchWithoutGroupsForgetsTheOthers() throws {
        var variables = RequestVariables()
        let scratch = RegexScratch()
        #expect(try CompiledRegex("(a)").matches(ByteBuffer(string: "a"), scratch: scratch, variables: &variables))
        #expect(try CompiledRegex("a").matches(ByteBuffer(string: "a"), scratch: scratch, variables: &variables))
        #expect(variables.capture(1) == nil)
    }

    @Test func capturesOfASlice() throws {
        var buffer = ByteBuffer(string: "xxx/abc")
        buffer.moveReaderIndex(forwardBy: 3)
        var variables = RequestVariables()
        #expect(try CompiledRegex("/a(b)").matches(buffer, scratch: RegexScratch(), variables: &variables))
        #expect(variables.capture(1).map { String(buffer: $0) } == "b")
    }

    @Test func matchesNothingAndAnyBytes() throws {
        let scratch = RegexScratch()
        #expect(try CompiledRegex("^$").matches(ByteBuffer(), scratch: scratch))
        #expect(try CompiledRegex("^\\xff.$").matches(ByteBuffer(bytes: [0xFF, 0x00]), scratch: scratch))
        #expect(
            try CompiledRegex(RegexModel(pattern: "ABC", ignoresCase: true)).matches(
                ByteBuffer(string: "abc"),
                scratch: scratch
            )
        )
        #expect(try !CompiledRegex("ABC").matches(ByteBuffer(string: "abc"), scratch: scratch))
    }

    @Test func saysWhereAPatternIsWrong() throws {
        let problem = #expect(throws: RegexProblem.self) { try CompiledRegex("ab(c") }
        guard case .syntax(let message, let offset) = problem?.reason else {
            Issue.record("\(String(describing: problem))")
            return
        }
        #expect(offset == 4)
        #expect(message.contains("parenthes"))
        let many = RegexModel(pattern: String(repeating: "(a)", count: 64))
        #expect(throws: RegexProblem(pattern: many.pattern, reason: .tooManyGroups(limit: 63))) {
            try CompiledRegex(many)
        }
        #expect(try CompiledRegex(RegexModel(pattern: String(repeating: "(a)", count: 63))).groupCount == 63)
    }

    @Test(.timeLimit(.minutes(1))) func givesUpWhatTakesTooLong() throws {
        let regex = try CompiledRegex("^(([a-z])+.)+[A-Z]([a-z])+$")
        let scratch = RegexScratch()
        #expect(!regex.matches(ByteBuffer(string: String(repeating: "a", count: 2_000)), scratch: scratch))
        #expect(scratch.takeFailure() == RegexFailure(pattern: regex.model.pattern, reason: .limitReached))
        #expect(scratch.takeFailure() == nil)
    }
}
