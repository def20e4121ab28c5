public import ParleyCore
internal import Synchronization

/// A Lua script, which the server runs as one step.
///
/// Sent as its digest; a server that does not know it is given the text, once.
public final class RESPScript: Sendable {
    public let source: String
    private let digest = Mutex<String?>(nil)

    public init(_ source: String) { self.source = source }

    fileprivate var knownDigest: String? {
        get { self.digest.withLock { $0 } }
        set { self.digest.withLock { $0 = newValue } }
    }
}

extension RESPExecutor {
    /// Runs the script by its digest; a server that does not know it (a new one, one that was restarted) is sent the
    /// text.
    ///
    /// The digest is the one that the server computed. `NOSCRIPT` means that nothing was run, so sending the text then
    /// does nothing twice.
    public func eval(
        _ script: RESPScript,
        keys: [String] = [],
        arguments: [RESPArgument] = [],
        deadline: Deadline? = nil
    ) async throws(RESPError) -> RESPValue {
        let words = [RESPArgument(keys.count)] + keys.map { RESPArgument($0) } + arguments
        let digest: String
        if let known = script.knownDigest {
            digest = known
        } else {
            let reply = try await self.send(["SCRIPT", "LOAD", RESPArgument(script.source)], deadline: deadline)
            guard let loaded = reply.string else { throw reply.unexpected("SCRIPT LOAD") }
            script.knownDigest = loaded
            digest = loaded
        }
        do {
            return try await self.send(RESPCommand(["EVALSHA", RESPArgument(digest)] + words), deadline: deadline)
        } catch {
            guard error.code == .noScript else { throw error }
        }
        return try await self.send(RESPCommand(["EVAL", RESPArgument(script.source)] + words), deadline: deadline)
    }

    /// Sends the commands between `MULTI` and `EXEC`: the server runs all of them with nothing between, or, when one is
    /// refused as it is queued, none.
    ///
    /// A refusal while they run (a wrong type, say) does **not** undo the others; it is in its place among the replies,
    /// as an error value.
    ///
    /// - Throws: ``RESPError/Code/transactionAborted`` when nothing was done: a command was refused, or a key that was
    ///   watched on this connection has changed.
    public func transaction(
        _ commands: [RESPCommand],
        deadline: Deadline? = nil
    ) async throws(RESPError) -> [RESPValue] {
        guard !commands.isEmpty else { return [] }
        for command in commands where command.changesSession {
            throw RESPError(.notAllowed, "\(command.name) inside a transaction; nothing was sent")
        }
        let replies = try await self.execute([["MULTI"]] + commands + [["EXEC"]], deadline: deadline)
        guard replies.count == commands.count + 2, let outcome = replies.last else {
            throw RESPError(.unexpectedReply, "EXEC: \(replies.count) replies", retry: .mayHaveRun)
        }
        if let refusal = outcome.errorMessage {
            // The first refusal says why; EXECABORT only that.
            let refusals = zip([["MULTI"]] + commands, replies).compactMap { command, reply in
                reply.errorMessage.map { RESPError(refusal: $0, command: command.name) }
            }
            var error = RESPError(refusal: refusal, command: "EXEC")
            if let first = refusals.first {
                error.message += "; refused: \(first.message)"
                error.cause = first
                // Nothing was done: whether another try can succeed is up to what was refused.
                if error.code == .transactionAborted { error.retry = first.retry }
            }
            throw error
        }
        if outcome.isNull {
            throw RESPError(.transactionAborted, "EXEC: a watched key has changed; nothing was done", retry: .notSent)
        }
        guard let results = outcome.elements, results.count == commands.count else { throw outcome.unexpected("EXEC") }
        return results
    }
}

// MARK: - The server

/// What `INFO` says, by name. Sections are dropped: the names are unique.
public struct ServerInfo: Sendable, Hashable {
    public var values: [String: String]

    /// Reads `name:value` lines; what is not one is passed over, because servers add to it.
    public init(_ text: String) {
        var values: [String: String] = [:]
        for line in text.split(whereSeparator: \.isNewline) where !line.hasPrefix("#") {
            guard let colon = line.firstIndex(of: ":") else { continue }
            values[String(line[..<colon])] = String(line[line.index(after: colon)...])
        }
        self.values = values
    }

    public subscript(name: String) -> String? { self.values[name] }

    /// `valkey` or `redis`.
    public var product: String { self.values["server_name"] ?? "redis" }
    /// The product's own version.
    public var version: String? { self.values["valkey_version"] ?? self.values["redis_version"] }
    /// `master` or `slave`.
    public var role: String? { self.values["role"] }
    public var isLoading: Bool { self.values["loading"] == "1" }
    public var usedMemory: Int? { self.values["used_memory"].flatMap { Int($0) } }
    /// Zero is no limit.
    public var maximumMemory: Int? { self.values["maxmemory"].flatMap { Int($0) } }
}

extension RESPExecutor {
    /// - Parameter section: `server`, `memory`, `replication` …; `nil` is the server's default selection.
    public func info(_ section: String? = nil) async throws(RESPError) -> ServerInfo {
        let reply = try await self.send(RESPCommand(["INFO"] + (section.map { [RESPArgument($0)] } ?? [])))
        guard let bytes = reply.bytes else { throw reply.unexpected("INFO") }
        return ServerInfo(String(decoding: bytes, as: UTF8.self))
    }
}
