public import ParleyCore

/// What came of one try at an action. Three answers, not two: "I do not know" is neither yes nor no.
public enum SagaOutcome: Sendable, Hashable {
    /// Done; `output` is JSON text for later steps and their undoing.
    case success(output: String?)
    /// Definitely refused: it has had no effect and will have none.
    case rejected(reason: String)
    /// Nobody knows whether it has had its effect (or, for `notSent`, it has not): ask again under the same key.
    case unknown(reason: String, retry: RetrySafety)
    /// It is being worked on: ask again after this time.
    case ongoing(retryAfter: Duration)
}

/// One action to be done for one saga: what a participant is told.
///
/// Over HTTP it travels as the headers that ``fields`` names. The ``idempotencyKey`` is the same for every try.
public struct SagaCommand: Sendable, Hashable {
    public enum Operation: String, Sendable, Hashable {
        case action, compensate
    }

    public var sagaID: String
    public var businessKey: String
    /// The name of the action to run: for an undo, the undoing action.
    public var action: String
    public var operation: Operation
    /// The visit that is done, or that is undone: an undo and what it undoes have the same step.
    public var step: String
    /// The driver's lease, for participants that fence.
    public var epoch: Int64
    /// 1 for the first try.
    public var attempt: Int
    /// What the saga was started with, as JSON text.
    public var input: String
    /// What the actions so far returned, as JSON text, by action; for an undo the output of what is undone is in it.
    public var outputs: [String: String]
    /// Why the saga turned back, once it has: what a cancelling step tells people.
    public var reason: String?

    public init(
        sagaID: String,
        businessKey: String,
        action: String,
        operation: Operation,
        step: String,
        epoch: Int64,
        attempt: Int,
        input: String,
        outputs: [String: String],
        reason: String? = nil
    ) {
        self.sagaID = sagaID
        self.businessKey = businessKey
        self.action = action
        self.operation = operation
        self.step = step
        self.epoch = epoch
        self.attempt = attempt
        self.input = input
        self.outputs = outputs
        self.reason = reason
    }

    /// Saga, step and operation: nothing that differs between two tries.
    public var idempotencyKey: String { "\(self.sagaID)/\(self.step)/\(self.operation.rawValue)" }

    /// The participant protocol's headers.
    public var fields: [(name: String, value: String)] {
        [
            ("Parley-Saga", self.sagaID), ("Parley-Step", self.step), ("Parley-Op", self.operation.rawValue),
            ("Parley-Epoch", String(self.epoch)), ("Idempotency-Key", self.idempotencyKey),
        ]
    }
}

extension SagaOutcome {
    /// Reads a participant's HTTP answer: 2xx success, 409 a definite refusal, 425 ongoing; anything else is unknown.
    public init(httpStatus: Int, body: String, retryAfter: Duration?) {
        switch httpStatus {
        case 200...299: self = .success(output: body.isEmpty ? nil : body)
        case 409: self = .rejected(reason: body)
        case 425: self = .ongoing(retryAfter: retryAfter ?? .seconds(1))
        default: self = .unknown(reason: "it answered \(httpStatus): \(body.prefix(200))", retry: .mayHaveRun)
        }
    }
}
