internal import HTTPTypes
internal import NIOCore
internal import ParleyCore
internal import ParleyDiscovery

/// Consul's HTTP API on the engine's state: from a request to an answer, without a socket.
struct RegistryAPI: Sendable {
    /// One request on its way to a handler.
    struct Call: Sendable {
        var request: APIRequest
        /// Called when the answer has to wait, with what ends the wait: the client may go away meanwhile.
        var onWaiting: @Sendable (Waiter) async -> Void = { _ in }

        var query: QueryItems { self.request.query }
    }

    let engine: RegistryEngine
    let configuration: RegistryConfiguration
    let identity: RegistryIdentity
    private let cache = AnswerCache()
    private(set) var routes = RouteTable()

    init(engine: RegistryEngine, configuration: RegistryConfiguration, identity: RegistryIdentity) {
        self.engine = engine
        self.configuration = configuration
        self.identity = identity
        var routes = RouteTable()
        self.addAgentRoutes(to: &routes)
        self.addCheckRoutes(to: &routes)
        self.addCatalogRoutes(to: &routes)
        self.addHealthRoutes(to: &routes)
        self.addKVRoutes(to: &routes)
        self.addStatusRoutes(to: &routes)
        self.routes = routes
    }

    var limits: RegistryLimits { self.configuration.limits }

    /// - Parameter readBody: Reads the body, up to so many bytes; `nil` when it is longer.
    func answer(
        _ request: APIRequest,
        onWaiting: @escaping @Sendable (Waiter) async -> Void,
        readBody: (Int) async throws -> [UInt8]?
    ) async throws -> APIAnswer {
        guard let (route, rest) = self.routes.find(request.path) else { return self.unknownPath(request) }
        var request = request
        request.rest = rest
        var answer: APIAnswer
        do {
            guard request.method != "OPTIONS" else {
                return self.finished(APIAnswer(headers: [("Allow", route.allow)]))
            }
            guard let handler = route.handlers[request.method] else {
                answer = APIAnswer.text(405, "method \(request.method) not allowed")
                answer.headers.append(("Allow", route.allow))
                return self.finished(answer)
            }
            if route.needsToken { try self.checkToken(request) }
            guard rest.utf8.count <= self.limits.maximumTextBytes else {
                throw APIError(414, "The name is longer than \(self.limits.maximumTextBytes) bytes")
            }
            guard let body = try await readBody(route.maximumBodyBytes) else {
                throw APIError(
                    413,
                    "Request body too large, max size: \(route.maximumBodyBytes) bytes. Send less, or raise the "
                        + "registry's limit."
                )
            }
            request.body = body
            answer = try await handler(Call(request: request, onWaiting: onWaiting))
        } catch let error as APIError {
            answer = .text(error.status, error.text)
        } catch let error as ConsulRequestFault {
            answer = .text(400, "Request decode failed: \(error.message)")
        } catch let error as RegistryStateMachine.Refusal {
            answer = self.answer(to: error)
        } catch let error as TooManyWatchers {
            answer = .text(429, "More than \(error.limit) questions wait already; ask again later")
        } catch let error as StoreFailure {
            answer = .text(500, "\(error)")
        }
        return self.finished(answer)
    }

    private func finished(_ answer: APIAnswer) -> APIAnswer {
        var answer = answer
        if answer.hasPolicyHeader {
            let policy = self.configuration.token == nil ? "allow" : "deny"
            answer.headers.append(("X-Consul-Default-Acl-Policy", policy))
        }
        return answer
    }

    private func unknownPath(_ request: APIRequest) -> APIAnswer {
        var answer = APIAnswer(status: 404)
        answer.hasPolicyHeader = false
        if request.path == "/" {
            answer = .text(301, "<a href=\"/ui/\">Moved Permanently</a>.\n\n")
            answer.headers.append(("Location", "/ui/"))
            answer.hasPolicyHeader = false
        }
        return answer
    }

    private func answer(to refusal: RegistryStateMachine.Refusal) -> APIAnswer {
        switch refusal {
        case .tooManyServices:
            .text(507, "The registry holds \(self.limits.maximumServices) services already; deregister what is gone")
        case .tooManyChecks:
            .text(507, "The registry holds \(self.limits.maximumChecks) checks already; deregister what is gone")
        case .tooManyNodes:
            .text(507, "The registry holds \(self.limits.maximumNodes) nodes already; deregister what is gone")
        case .tooManyKeys:
            .text(507, "The registry holds \(self.limits.maximumKeys) keys already; delete what is not needed")
        case .tooManyKVBytes:
            .text(
                507,
                "The registry's keys have \(self.limits.maximumKVBytes) bytes already; delete what is not needed"
            )
        case .tooManyChecksOfService(let id):
            .text(507, "Service \"\(id)\" has at most \(self.limits.maximumChecksPerService) checks; deregister one")
        case .noSuchService(let id): .text(404, "ServiceID \"\(id)\" does not exist")
        case .noSuchNode(let name): .text(404, "Node \"\(name)\" does not exist")
        }
    }

    /// As Consul takes them: its own header, the standard's, or in the query.
    private func checkToken(_ request: APIRequest) throws(APIError) {
        guard let wanted = self.configuration.token else { return }
        // A client without a token may send the header all the same, empty; the next place may hold one.
        var given = HTTPField.Name("X-Consul-Token").flatMap { request.headers[$0] } ?? ""
        if given.isEmpty, let text = request.headers[.authorization], text.lowercased().hasPrefix("bearer ") {
            given = String(text.dropFirst(7).drop { $0 == " " })
        }
        if given.isEmpty { given = request.query["token"] ?? "" }
        guard Self.isSame(given, wanted) else { throw APIError(403, "Permission denied") }
    }

    /// Takes as long for a wrong one as for the right one, wherever they differ.
    private static func isSame(_ first: String, _ second: String) -> Bool {
        let (first, second) = (Array(first.utf8), Array(second.utf8))
        guard first.count == second.count else { return false }
        return zip(first, second).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }
}

extension RegistryAPI.Call {
    func options(_ api: RegistryAPI) throws(APIError) -> ReadOptions {
        try ReadOptions(
            self.query,
            datacenter: api.configuration.datacenter,
            maximumFilterBytes: api.limits.maximumTextBytes,
            chance: api.engine.random.unitInterval()
        )
    }
}

extension RegistryAPI {
    /// JSON, filtered and printed as was asked for.
    ///
    /// - Parameter filtering: What of it a filter may take away.
    func json(
        _ value: some Encodable,
        _ options: ReadOptions? = nil,
        status: Int = 200,
        filtering: FilterTarget = .nothing
    ) throws -> APIAnswer {
        try Self.check(options?.filter, filtering)
        var bytes = try AnswerEncoder.encode(value)
        if options?.filter != nil || options?.isPretty == true {
            var tree = try ConsulRequestReader.json(bytes)
            if let filter = options?.filter {
                do throws(BooleanExpression.Fault) {
                    let most = self.limits.maximumFilterSteps
                    tree = try filtering.filtered(tree, by: filter, maximumSteps: most)
                } catch {
                    throw APIError(400, error.message)
                }
            }
            bytes.removeAll(keepingCapacity: true)
            tree.write(indent: options?.isPretty == true ? 4 : 0, into: &bytes)
            if options?.isPretty == true { bytes.append(UInt8(ascii: "\n")) }
        }
        return APIAnswer(status: status, body: .json(ByteBuffer(bytes: bytes)))
    }

    private static func check(_ filter: BooleanExpression?, _ target: FilterTarget) throws(APIError) {
        guard let filter else { return }
        do throws(BooleanExpression.Fault) { try target.check(filter) } catch {
            throw APIError(500, "Failed to create boolean expression evaluator: \(error.message)")
        }
    }

    /// Answers a question of the catalog: waits if that is wanted, and says which index the answer has.
    func indexed<Value: Encodable & Sendable>(
        _ call: Call,
        about topic: RegistryStateMachine.Topic,
        filtering: FilterTarget = .nothing,
        _ read: @Sendable (borrowing RegistryStateMachine) -> Value
    ) async throws -> APIAnswer {
        let options = try call.options(self)
        // Before it waits.
        try Self.check(options.filter, filtering)
        // The path is decoded, and may hold a question mark.
        let key = "\(call.request.path.utf8.count):\(call.request.path)\(call.query.content)"
        let (index, found) = try await self.engine.answer(
            about: topic,
            patience: options.patience,
            onWaiting: call.onWaiting
        ) { machine -> Found<Value> in
            switch self.cache.find(key, version: machine.version) {
            case .made(let bytes): .made(bytes)
            case .beingMade(let making): .beingMade(making)
            case .toBeMade(let making): .toBeMade(read(machine), making)
            }
        }
        var answer: APIAnswer
        switch found {
        case .made(let bytes): answer = APIAnswer(body: .json(bytes))
        case .toBeMade(let value, let making): answer = try self.make(value, options, making, filtering: filtering)
        case .beingMade(let making):
            if let bytes = await making.bytes(on: self.engine.time) {
                answer = APIAnswer(body: .json(bytes))
            } else {
                answer = try self.json(self.engine.read(read), options, filtering: filtering)
            }
        }
        answer.headers += Self.indexHeaders(index, consistency: options.consistency)
        return answer
    }

    private func make(
        _ value: some Encodable,
        _ options: ReadOptions,
        _ making: AnswerCache.Making,
        filtering: FilterTarget
    ) throws -> APIAnswer {
        do {
            let answer = try self.json(value, options, filtering: filtering)
            if case .json(let bytes) = answer.body { self.cache.made(bytes, making) }
            return answer
        } catch {
            self.cache.failed(making)
            throw error
        }
    }

    private enum Found<Value: Sendable>: Sendable {
        case made(ByteBuffer)
        case beingMade(AnswerCache.Making)
        case toBeMade(Value, AnswerCache.Making)
    }

    static func indexHeaders(_ index: UInt64, consistency: String?) -> [(name: String, value: String)] {
        var headers = [
            (name: "X-Consul-Index", value: "\(index)"), ("X-Consul-Knownleader", "true"),
            ("X-Consul-Lastcontact", "0"), ("X-Consul-Query-Backend", "blocking-query"),
        ]
        if let consistency { headers.append(("X-Consul-Effective-Consistency", consistency)) }
        return headers
    }

    /// What Consul's agent does with names: nothing. We refuse only what is too long.
    func checkLength(_ texts: String...) throws(APIError) {
        for text in texts where text.utf8.count > self.limits.maximumTextBytes {
            throw APIError(400, "A name or text is longer than \(self.limits.maximumTextBytes) bytes")
        }
    }
}
