internal import Foundation
internal import ParleyCore

extension SagaDefinition {
    /// The largest file that is read.
    public static let maximumFileBytes = 1_048_576

    /// Reads a file with one or more definitions.
    ///
    /// Unknown fields are kept as ``unknownFields``, so that a newer file loads and the linter can point at typing
    /// errors.
    /// - Throws: ``SagaError`` with ``SagaError/Code/invalidDefinition``, naming the place.
    public static func read(json: [UInt8]) throws -> [SagaDefinition] {
        guard json.count <= self.maximumFileBytes else {
            throw SagaError(
                .invalidDefinition,
                "the file has \(json.count) bytes; the limit is \(self.maximumFileBytes)"
            )
        }
        do {
            let file = try JSONDecoder().decode([String: DefinitionFile].self, from: Data(json))
            return file.sorted { $0.key < $1.key }.map { $1.definition(named: $0) }
        } catch let error as DecodingError {
            throw SagaError.unreadable(error)
        }
    }

    /// The definition in one fixed spelling, which ``read(json:)`` gives back unchanged: what instances are pinned to.
    public var canonicalJSON: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode([self.name: DefinitionFile(self)]) else { return "" }
        return String(decoding: data, as: UTF8.self)
    }

    /// A short name for ``canonicalJSON`` (64-bit FNV-1a). It tells versions apart; it is no protection against
    /// forgery, and stores keep the text itself beside it.
    public var fingerprint: String { shortFingerprint(self.canonicalJSON) }
}

/// The file's shape. Times are seconds, as the names say.
private struct DefinitionFile: Codable {
    enum CodingKeys: String, CodingKey, CaseIterable {
        case initial, states, terminal, success, parked, version, description
    }

    var initial: String
    var states: [String: StateFile]
    var terminal: [String]?
    var success: [String]?
    var parked: [String]?
    var version: String?
    var description: String?
    var unknown: [String] = []

    init(_ definition: SagaDefinition) {
        self.initial = definition.initial
        self.states = definition.states.mapValues { StateFile($0) }
        self.terminal = definition.terminals.sorted()
        self.success = definition.successes.sorted()
        self.parked = definition.parked.sorted()
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.initial = try container.decode(String.self, forKey: .initial)
        self.states = try container.decode([String: StateFile].self, forKey: .states)
        self.terminal = try container.decodeIfPresent([String].self, forKey: .terminal)
        self.success = try container.decodeIfPresent([String].self, forKey: .success)
        self.parked = try container.decodeIfPresent([String].self, forKey: .parked)
        self.version = try container.decodeIfPresent(String.self, forKey: .version)
        self.description = try container.decodeIfPresent(String.self, forKey: .description)
        self.unknown = try DynamicKey.unknown(in: decoder, known: CodingKeys.allCases.map(\.rawValue), at: [])
    }

    func definition(named name: String) -> SagaDefinition {
        SagaDefinition(
            name: name,
            initial: self.initial,
            states: self.states.mapValues(\.state),
            terminals: Set(self.terminal ?? []),
            successes: Set(self.success ?? []),
            parked: Set(self.parked ?? []),
            unknownFields: self.unknown
                + self.states.sorted { $0.key < $1.key }.flatMap { name, state in
                    state.unknown.map { "states.\(name).\($0)" }
                }
        )
    }
}

private struct StateFile: Codable {
    enum CodingKeys: String, CodingKey, CaseIterable {
        case action, compensates, pivot, retry, description
        case onSuccess = "on_success"
        case onFailure = "on_failure"
        case onUnknown = "on_unknown"
    }

    struct RetryFile: Codable {
        enum CodingKeys: String, CodingKey {
            case attempts, factor, jitter
            case timeout = "timeout_seconds"
            case initial = "initial_seconds"
            case cap = "cap_seconds"
        }

        var attempts: Int?
        var timeout: Double?
        var initial: Double?
        var cap: Double?
        var factor: Double?
        var jitter: Double?
    }

    var action: String
    var onSuccess: String?
    var onFailure: String?
    var onUnknown: String?
    var compensates: String?
    var pivot: Bool?
    var retry: RetryFile?
    var description: String?
    var unknown: [String] = []

    init(_ state: SagaDefinition.State) {
        self.action = state.action
        self.onSuccess = state.onSuccess
        self.onFailure = state.onFailure
        self.onUnknown = state.onUnknown
        self.compensates = state.compensates
        self.pivot = state.isPivot ? true : nil
        let backoff = state.retry.backoff
        self.retry = RetryFile(
            attempts: state.retry.maximumAttempts,
            timeout: state.retry.timeout.inSeconds,
            initial: backoff.initial.inSeconds,
            cap: backoff.cap.inSeconds,
            factor: backoff.factor,
            jitter: backoff.jitter
        )
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.action = try container.decode(String.self, forKey: .action)
        self.onSuccess = try container.decodeIfPresent(String.self, forKey: .onSuccess)
        self.onFailure = try container.decodeIfPresent(String.self, forKey: .onFailure)
        self.onUnknown = try container.decodeIfPresent(String.self, forKey: .onUnknown)
        self.compensates = try container.decodeIfPresent(String.self, forKey: .compensates)
        self.pivot = try container.decodeIfPresent(Bool.self, forKey: .pivot)
        self.retry = try container.decodeIfPresent(RetryFile.self, forKey: .retry)
        self.description = try container.decodeIfPresent(String.self, forKey: .description)
        self.unknown = try DynamicKey.unknown(in: decoder, known: CodingKeys.allCases.map(\.rawValue), at: [])
    }

    var state: SagaDefinition.State {
        var state = SagaDefinition.State(
            action: self.action,
            onSuccess: self.onSuccess,
            onFailure: self.onFailure,
            onUnknown: self.onUnknown,
            compensates: self.compensates,
            isPivot: self.pivot ?? false
        )
        guard let retry = self.retry else { return state }
        func seconds(_ value: Double?, or otherwise: Duration) -> Duration { duration(ofSeconds: value) ?? otherwise }
        let base = state.retry
        state.retry = SagaDefinition.Retry(
            maximumAttempts: retry.attempts ?? base.maximumAttempts,
            timeout: seconds(retry.timeout, or: base.timeout),
            backoff: Backoff(
                initial: seconds(retry.initial, or: base.backoff.initial),
                factor: retry.factor ?? base.backoff.factor,
                cap: seconds(retry.cap, or: base.backoff.cap),
                jitter: retry.jitter ?? base.backoff.jitter
            )
        )
        return state
    }
}
