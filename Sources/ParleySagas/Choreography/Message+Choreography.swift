internal import ParleyCore
public import ParleyMessaging

extension Message {
    /// The choreography that this event belongs to (CloudEvents extension `choreography`); `nil` when it does not say.
    public var choreography: String? {
        get { self.headers["choreography"] }
        set { self.headers["choreography"] = newValue }
    }

    /// The message that this one says once more (extension `replayof`): the same happening under a new id.
    public var replayOf: String? {
        get { self.headers["replayof"] }
        set { self.headers["replayof"] = newValue }
    }

    /// The operator who said it in a service's place (extension `injectedby`).
    public var injectedBy: String? {
        get { self.headers["injectedby"] }
        set { self.headers["injectedby"] = newValue }
    }

    /// The instance that it belongs to, as far as it names an acceptable one.
    public var correlationID: String? {
        self.headers[RequestContextFields.message.correlationID].flatMap {
            RequestContext.isAcceptableID($0) ? $0 : nil
        }
    }

    /// This message as the monitor keeps it.
    func observed(at now: Timestamp) -> ObservedEvent {
        func id(_ name: String) -> String? {
            self.headers[name].flatMap { RequestContext.isAcceptableID($0) ? $0 : nil }
        }
        return ObservedEvent(
            id: self.id,
            type: self.type,
            source: self.source,
            time: self.time,
            causationID: id(RequestContextFields.message.causationID),
            replayOf: id("replayof"),
            injectedBy: self.injectedBy.map { String($0.prefix(200)) },
            observedAt: now
        )
    }
}
