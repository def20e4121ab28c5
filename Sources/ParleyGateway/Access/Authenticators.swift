internal import ParleyCore
internal import Synchronization

/// Who a location asks about the credentials of a request.
struct Authenticators: Sendable {
    enum Authenticator: Sendable {
        case basic(BasicAuthenticator)
        case apiKey(APIKeyAuthenticator)
        case jwt(JWTAuthenticator)
    }

    var all: [Authenticator] = []

    var isEmpty: Bool { self.all.isEmpty }

    func decisions(for fields: FieldBlock) -> [AccessDecision] {
        self.all.map { authenticator in
            switch authenticator {
            case .basic(let basic): basic.decision(for: fields)
            case .apiKey(let key): key.decision(for: fields)
            case .jwt(let jwt): jwt.decision(for: fields)
            }
        }
    }

    func resolve(_ fields: FieldBlock) async -> [AccessDecision] {
        var decisions: [AccessDecision] = []
        for authenticator in self.all {
            switch authenticator {
            case .basic(let basic): decisions.append(await basic.resolve(fields))
            case .apiKey(let key): decisions.append(await key.resolve(fields))
            case .jwt(let jwt): decisions.append(await jwt.resolve(fields))
            }
        }
        return decisions
    }
}

/// The authenticators of a gateway, one for each rule: what they remember outlives a reload.
final class AuthenticatorStore: Sendable {
    private struct State {
        var basic: [String: BasicAuthenticator] = [:]
        var keys: [APIKeys: APIKeyAuthenticator] = [:]
        var jwt: [JWTRules: JWTAuthenticator] = [:]
    }

    private let state = Mutex(State())
    private let time: any TimeSource
    private let random: any RandomSource
    private let fetch: @Sendable (String) async throws -> [UInt8]

    init(
        time: any TimeSource,
        random: any RandomSource,
        fetch: @escaping @Sendable (String) async throws -> [UInt8]
    ) {
        self.time = time
        self.random = random
        self.fetch = fetch
    }

    func authenticators(_ settings: LocationSettings) -> Authenticators {
        self.state.withLock { state in
            var all: [Authenticators.Authenticator] = []
            if let basic = settings.basicAuth {
                let found =
                    state.basic[basic.userFile]
                    ?? BasicAuthenticator(userFile: basic.userFile, time: self.time, random: self.random)
                state.basic[basic.userFile] = found
                all.append(.basic(found))
            }
            if let keys = settings.apiKeys {
                let found = state.keys[keys] ?? APIKeyAuthenticator(keys: keys, time: self.time)
                state.keys[keys] = found
                all.append(.apiKey(found))
            }
            if let rules = settings.jwt {
                let found =
                    state.jwt[rules]
                    ?? JWTAuthenticator(rules: rules, time: self.time, random: self.random, fetch: self.fetch)
                state.jwt[rules] = found
                all.append(.jwt(found))
            }
            return Authenticators(all: all)
        }
    }
}
