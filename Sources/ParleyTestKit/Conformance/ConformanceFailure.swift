internal import ParleyMessaging

/// A backend does not do what its port promises.
public struct ConformanceFailure: Error, Sendable, CustomStringConvertible {
    /// The name of the case, filled in by ``ConformanceCase/run(_:)``.
    public var caseName: String
    public var expectation: String
    public var got: String
    public var file: String
    public var line: Int

    public init(_ expectation: String, got: String, file: String = #fileID, line: Int = #line) {
        self.caseName = ""
        self.expectation = expectation
        self.got = got
        self.file = file
        self.line = line
    }

    public var description: String {
        let place = "\(self.file):\(self.line)"
        return "\(self.caseName.isEmpty ? "" : "'\(self.caseName)': ")expected \(self.expectation); "
            + "got \(self.got) (\(place))"
    }
}

/// - Throws: ``ConformanceFailure`` when the two differ.
func expect<Value: Equatable>(
    _ value: Value,
    equals wanted: Value,
    _ expectation: String,
    file: String = #fileID,
    line: Int = #line
) throws {
    guard value != wanted else { return }
    throw ConformanceFailure("\(expectation): \(wanted)", got: "\(value)", file: file, line: line)
}

/// - Throws: ``ConformanceFailure`` when the condition does not hold.
func expect(
    _ condition: Bool,
    _ expectation: String,
    got: @autoclosure () -> String = "that it is not so",
    file: String = #fileID,
    line: Int = #line
) throws {
    guard !condition else { return }
    throw ConformanceFailure(expectation, got: got(), file: file, line: line)
}

/// - Throws: ``ConformanceFailure`` when there is no value.
func require<Value>(
    _ value: Value?,
    _ expectation: String,
    file: String = #fileID,
    line: Int = #line
) throws -> Value {
    guard let value else { throw ConformanceFailure(expectation, got: "nothing", file: file, line: line) }
    return value
}

/// Which error a case wants to see.
struct ExpectedError {
    let isWanted: (any Error) -> Bool

    static func messaging(_ code: MessagingError.Code) -> ExpectedError {
        ExpectedError { ($0 as? MessagingError)?.code == code }
    }

    static func ofType<Wanted: Error>(_ type: Wanted.Type) -> ExpectedError {
        ExpectedError { $0 is Wanted }
    }
}

/// - Throws: ``ConformanceFailure`` when `body` does not throw the error that is wanted.
func expectError(
    _ expectation: String,
    _ expected: ExpectedError,
    file: String = #fileID,
    line: Int = #line,
    _ body: () async throws -> Void
) async throws {
    do {
        try await body()
    } catch {
        guard !expected.isWanted(error) else { return }
        throw ConformanceFailure(expectation, got: "\(error)", file: file, line: line)
    }
    throw ConformanceFailure(expectation, got: "no error", file: file, line: line)
}
