internal import HTTPTypes

extension HTTPRequest {
    /// Whether doing this twice has the effect of once: the method says so (RFC 9110, section 9.2.2), or the server
    /// recognises the second one by its `Idempotency-Key`.
    var isRepeatable: Bool {
        switch self.method {
        case .get, .head, .options, .put, .delete, .trace: true
        default: self.headerFields[named: "Idempotency-Key"] != nil
        }
    }
}
