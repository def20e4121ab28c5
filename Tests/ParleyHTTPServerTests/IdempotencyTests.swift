internal import HTTPTestSupport
internal import Hummingbird
internal import ParleyCore
internal import ParleyHTTPServer
internal import Synchronization
internal import Testing

/// A shop that counts what it really does.
private final class Shop: Sendable {
    private let count = Mutex(0)
    let gate = Gate()
    let store: InMemoryIdempotencyStore

    init(_ store: InMemoryIdempotencyStore = InMemoryIdempotencyStore()) {
        self.store = store
    }

    var orders: Int { self.count.withLock { $0 } }

    private func order() -> Int {
        self.count.withLock { count in
            count += 1
            return count
        }
    }

    func run(
        _ configure: (inout IdempotencyMiddleware.Configuration) -> Void = { _ in },
        _ body: (Endpoint) async throws -> Void
    ) async throws {
        var configuration = IdempotencyMiddleware.Configuration()
        configure(&configuration)
        let router = ParleyRouter(service: "test-service")
        router.add(
            middleware: IdempotencyMiddleware(service: "test-service", store: self.store, configuration: configuration)
        )
        router.on("orders", method: .post) { _, _ in
            Response(
                status: .created,
                headers: [.location: "/orders/\(self.order())"],
                body: .init(byteBuffer: .init(string: "made"))
            )
        }
        router.on("orders", method: .put) { _, _ -> String in "\(self.order())" }
        router.post("slow") { _, _ -> String in
            try await self.gate.wait()
            return "\(self.order())"
        }
        router.post("sold-out") { _, _ -> String in
            _ = self.order()
            throw ProblemError(.conflict, code: "out_of_stock", detail: "None left.")
        }
        router.post("broken") { _, _ -> String in
            _ = self.order()
            throw SecretError()
        }
        router.post("large") { _, _ -> String in
            _ = self.order()
            return String(repeating: "x", count: 2_000)
        }
        try await withService(router: router) { endpoint, _, _ in try await body(endpoint) }
    }
}

@Suite(.timeLimit(.minutes(1))) struct IdempotencyTests {
    private func post(
        _ path: String,
        _ key: String?,
        _ body: String = "{}",
        caller: String = "a",
        at endpoint: Endpoint
    ) async throws -> HTTPAnswer {
        let headers = [("X-Service", caller)] + (key.map { [("Idempotency-Key", $0)] } ?? [])
        return try await request("POST", path, at: endpoint, headers: headers, body: body)
    }

    @Test func theSameRequestTwiceHappensOnce() async throws {
        let shop = Shop()
        try await shop.run { endpoint async throws -> Void in
            let first = try await self.post("/orders", "k-1", at: endpoint)
            let second = try await self.post("/orders", "k-1", at: endpoint)
            #expect(first.status == 201 && first.header("Idempotency-Replayed") == nil)
            #expect(second.status == 201 && second.header("Idempotency-Replayed") == "true")
            #expect(second.text == "made" && second.header("Location") == "/orders/1")
            #expect(first.header("X-Request-ID") != second.header("X-Request-ID"))
            #expect(shop.orders == 1)
        }
    }

    @Test func anotherKeyAnotherCallerOrNoKeyIsOtherWork() async throws {
        let shop = Shop()
        try await shop.run { endpoint async throws -> Void in
            for (key, caller) in [("k-1", "a"), ("k-2", "a"), ("k-1", "b"), (nil, "a"), (nil, "a")] {
                let answer = try await self.post("/orders", key, caller: caller, at: endpoint)
                #expect(answer.status == 201)
            }
            #expect(shop.orders == 5)
        }
    }

    @Test func theSameKeyForAnotherRequestIsAMistake() async throws {
        let shop = Shop()
        try await shop.run { endpoint async throws -> Void in
            _ = try await self.post("/orders", "k-1", at: endpoint)
            for (path, body) in [("/orders", "{ }"), ("/orders?a=1", "{}"), ("/sold-out", "{}")] {
                let answer = try await self.post(path, "k-1", body, at: endpoint)
                #expect(answer.status == 422 && answer.problem?.code == "idempotency_key_reused", "\(path) \(body)")
            }
            #expect(shop.orders == 1)
        }
    }

    @Test func whileTheFirstIsRunningTheOthersAreAskedToComeBack() async throws {
        let shop = Shop()
        try await shop.run { endpoint async throws -> Void in
            let answers = await withTaskGroup(of: HTTPAnswer?.self) { group in
                for _ in 0..<20 { group.addTask { try? await self.post("/slow", "k-1", at: endpoint) } }
                var answers: [HTTPAnswer] = []
                for await answer in group {
                    if let answer { answers.append(answer) }
                    // All but the one that runs.
                    if answers.count == 19 { shop.gate.open() }
                }
                return answers
            }
            #expect(answers.count == 20 && answers.filter { $0.status == 200 }.count == 1)
            let others = answers.filter { $0.status == 409 }
            #expect(others.count == 19)
            #expect(others.allSatisfy { ["1", "2", "3", "4", "5"].contains($0.header("Retry-After")) })
            let again = try await self.post("/slow", "k-1", at: endpoint)
            #expect(again.text == "1")
            #expect(shop.orders == 1)
        }
    }

    @Test func aRefusalIsKeptAndAFailureIsNot() async throws {
        let shop = Shop()
        try await shop.run { endpoint async throws -> Void in
            for _ in 0..<2 {
                let answer = try await self.post("/sold-out", "k-1", at: endpoint)
                #expect(answer.status == 409 && answer.problem?.code == "out_of_stock")
            }
            #expect(shop.orders == 1)
            for _ in 0..<2 {
                let answer = try await self.post("/broken", "k-2", at: endpoint)
                #expect(answer.status == 500)
            }
            #expect(shop.orders == 3)
        }
    }

    @Test func aLargeAnswerIsNotKept() async throws {
        let shop = Shop()
        try await shop.run({ $0.maxAnswerBytes = 1_999 }) { endpoint async throws -> Void in
            for _ in 0..<2 {
                let answer = try await self.post("/large", "k-1", at: endpoint)
                #expect(answer.text.count == 2_000)
            }
            #expect(shop.orders == 2)
        }
    }

    @Test(arguments: ["", String(repeating: "k", count: 129), "a b"])
    func aKeyThatIsNoneIsRefused(_ key: String) async throws {
        let shop = Shop()
        try await shop.run { endpoint async throws -> Void in
            let answer = try await self.post("/orders", key, at: endpoint)
            #expect(answer.status == 400)
            #expect(shop.orders == 0)
        }
    }

    @Test func aKeyCanBeRequired() async throws {
        let shop = Shop()
        try await shop.run({ $0.isRequired = true }) { endpoint async throws -> Void in
            let answer = try await self.post("/orders", nil, at: endpoint)
            #expect(answer.status == 400 && answer.problem?.code == "idempotency_key_missing")
            let put = try await request("PUT", "/orders", at: endpoint)
            #expect(put.status == 200)
        }
    }
}

@Suite struct InMemoryIdempotencyStoreTests {
    private let start = Timestamp(microseconds: 1_000_000_000)
    private let answer = StoredAnswer(status: 200, headerFields: [:], body: [UInt8](repeating: 1, count: 100))

    private func key(_ number: Int) -> IdempotencyKey { IdempotencyKey(caller: "a", key: "k-\(number)") }

    private func begin(
        _ store: InMemoryIdempotencyStore,
        _ number: Int,
        at now: Duration
    ) throws -> IdempotencyClaim {
        let moment = self.start + now
        return try store.begin(
            self.key(number),
            fingerprint: "f",
            now: moment,
            leaseUntil: moment + .seconds(10)
        )
    }

    private func token(_ claim: IdempotencyClaim) -> String? {
        if case .begun(let token) = claim { token } else { nil }
    }

    @Test func aLeaseAndAnAnswerEnd() throws {
        let store = InMemoryIdempotencyStore()
        let old = try #require(self.token(try self.begin(store, 1, at: .zero)))
        #expect(
            try self.begin(store, 1, at: .seconds(9))
                == .running(fingerprint: "f", until: self.start + .seconds(10))
        )
        let new = try #require(self.token(try self.begin(store, 1, at: .seconds(10))))
        // The one that was given up for lost comes back late.
        store.finish(self.key(1), token: old, answer: self.answer, until: self.start + .seconds(90))
        store.release(self.key(1), token: old)
        #expect(self.token(try self.begin(store, 1, at: .seconds(11))) == nil)
        store.finish(self.key(1), token: new, answer: self.answer, until: self.start + .seconds(90))
        // An answer cannot be taken back, nor changed.
        store.release(self.key(1), token: new)
        #expect(try self.begin(store, 1, at: .seconds(89)) == .answered(fingerprint: "f", self.answer))
        #expect(self.token(try self.begin(store, 1, at: .seconds(90))) != nil)
    }

    @Test func theOldestAnswersGoWhenThereIsNoRoomAndWhatRunsStays() throws {
        let store = InMemoryIdempotencyStore(maxEntries: 100)
        _ = try self.begin(store, 0, at: .zero)
        for number in 1..<1_000 {
            let token = try #require(self.token(try self.begin(store, number, at: .milliseconds(number))))
            let until = self.start + .seconds(900) + .milliseconds(number)
            store.finish(self.key(number), token: token, answer: self.answer, until: until)
            #expect(store.count <= 100)
        }
        #expect(self.token(try self.begin(store, 0, at: .seconds(1))) == nil)
        #expect(self.token(try self.begin(store, 999, at: .seconds(1))) == nil)
        #expect(self.token(try self.begin(store, 1, at: .seconds(1))) != nil)
    }

    @Test func theBytesAreLimitedToo() throws {
        let store = InMemoryIdempotencyStore(maxEntries: 1_000, maxBytes: 1_000)
        for number in 0..<50 {
            let token = try #require(self.token(try self.begin(store, number, at: .zero)))
            let until = self.start + .seconds(number + 20)
            store.finish(self.key(number), token: token, answer: self.answer, until: until)
            #expect(store.count <= 10)
        }
    }

    @Test func whenOnlyWorkIsUnderWayTheNextIsRefused() throws {
        let store = InMemoryIdempotencyStore(maxEntries: 3)
        for number in 0..<3 { _ = try self.begin(store, number, at: .zero) }
        #expect(throws: ProblemError.self) { _ = try self.begin(store, 3, at: .zero) }
        #expect(self.token(try self.begin(store, 3, at: .seconds(10))) != nil)
    }
}
