public import ParleyCore

/// A failure of a command or a connection: what, at which server, whether trying again is safe, and what to do.
public struct RESPError: RetryClassifiedError, CustomStringConvertible {
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Kind: String {
            case cannotConnect, tls, connectionLost, closed, protocolViolation, unexpectedReply
            case deadlineExceeded, cancelled, overloaded, notAllowed, notRunning, invalidURL
            case wrongPassword, authenticationRequired, noPermission, readOnly, outOfMemory, loading, busy, moved, ask
            case tryAgain, clusterDown, crossSlot, masterDown, noReplicas, misconfigured, noScript, noGroup, groupExists
            case wrongType, unblocked, transactionAborted, unknownCommand, server
            case noSentinel, unknownMaster, notMaster
        }

        private let kind: Kind
        public var description: String { self.kind.rawValue }

        /// No connection came about. Nothing was sent.
        public static let cannotConnect = Code(kind: .cannotConnect)
        /// The TLS handshake failed: a certificate that is not trusted, or a server without TLS.
        public static let tls = Code(kind: .tls)
        /// The connection ended before the reply; ``RESPError/retry`` says whether the command was sent.
        public static let connectionLost = Code(kind: .connectionLost)
        /// The connection or the client was closed on this side.
        public static let closed = Code(kind: .closed)
        /// The peer sent what is not RESP. The connection was closed.
        public static let protocolViolation = Code(kind: .protocolViolation)
        /// The reply is RESP, but not what this command answers.
        public static let unexpectedReply = Code(kind: .unexpectedReply)
        /// No reply came in time.
        public static let deadlineExceeded = Code(kind: .deadlineExceeded)
        /// The waiting task was cancelled.
        public static let cancelled = Code(kind: .cancelled)
        /// As many commands wait already as may wait.
        public static let overloaded = Code(kind: .overloaded)
        /// The command would harm the others on its connection, so it was not sent.
        public static let notAllowed = Code(kind: .notAllowed)
        /// What was given as a URL is none.
        public static let invalidURL = Code(kind: .invalidURL)
        /// The client's `run()` is not active.
        public static let notRunning = Code(kind: .notRunning)
        /// None of the sentinels could be asked. Nothing was sent.
        public static let noSentinel = Code(kind: .noSentinel)
        /// No sentinel that answered knows a master of this name. Nothing was sent.
        public static let unknownMaster = Code(kind: .unknownMaster)
        /// What the sentinels named says that it is no master: a fail-over is under way, or they are behind. Nothing
        /// was sent.
        public static let notMaster = Code(kind: .notMaster)

        /// `WRONGPASS`: user or password is wrong.
        public static let wrongPassword = Code(kind: .wrongPassword)
        /// `NOAUTH`: the server wants a password and got none.
        public static let authenticationRequired = Code(kind: .authenticationRequired)
        /// `NOPERM`: the user's ACL forbids it.
        public static let noPermission = Code(kind: .noPermission)
        /// `READONLY`: a write on a replica, after a fail-over for example.
        public static let readOnly = Code(kind: .readOnly)
        /// `OOM`: `maxmemory` is reached and nothing may be evicted.
        public static let outOfMemory = Code(kind: .outOfMemory)
        /// `LOADING`: the server reads its data after a start.
        public static let loading = Code(kind: .loading)
        /// `BUSY`: a script runs for too long.
        public static let busy = Code(kind: .busy)
        /// `MOVED`: another node of the cluster owns the slot; see ``RESPError/redirection``.
        public static let moved = Code(kind: .moved)
        /// `ASK`: the slot is on its way to another node; see ``RESPError/redirection``.
        public static let ask = Code(kind: .ask)
        /// `TRYAGAIN`: keys of one command are on two nodes while their slot moves.
        public static let tryAgain = Code(kind: .tryAgain)
        /// `CLUSTERDOWN`: the cluster serves nothing at the moment.
        public static let clusterDown = Code(kind: .clusterDown)
        /// `CROSSSLOT`: the keys of one command belong to different slots.
        public static let crossSlot = Code(kind: .crossSlot)
        /// `MASTERDOWN`: a replica without its master.
        public static let masterDown = Code(kind: .masterDown)
        /// `NOREPLICAS`: fewer replicas than `min-replicas-to-write`.
        public static let noReplicas = Code(kind: .noReplicas)
        /// `MISCONF`: the server cannot save and therefore takes no writes.
        public static let misconfigured = Code(kind: .misconfigured)
        /// `NOSCRIPT`: the server does not know the script of this digest.
        public static let noScript = Code(kind: .noScript)
        /// `NOGROUP`: the stream or its consumer group is not there.
        public static let noGroup = Code(kind: .noGroup)
        /// `BUSYGROUP`: the consumer group is there already.
        public static let groupExists = Code(kind: .groupExists)
        /// `WRONGTYPE`: the key holds another type.
        public static let wrongType = Code(kind: .wrongType)
        /// `UNBLOCKED`: a blocking read was ended, its key was deleted or `CLIENT UNBLOCK` was sent.
        public static let unblocked = Code(kind: .unblocked)
        /// `EXECABORT`, or a watched key changed: the transaction did nothing.
        public static let transactionAborted = Code(kind: .transactionAborted)
        /// The server does not know the command or the subcommand: it is older, or another product.
        public static let unknownCommand = Code(kind: .unknownCommand)
        /// Every other refusal; ``RESPError/message`` has the server's words.
        public static let server = Code(kind: .server)
    }

    /// Where a cluster says the slot is.
    public struct Redirection: Sendable, Hashable {
        public var slot: Int
        public var host: String
        public var port: Int
    }

    public var code: Code
    /// The server, as configured.
    public var server: String
    /// What happened and what to do about it.
    public var message: String
    public var retry: RetrySafety
    /// For ``Code/moved`` and ``Code/ask``.
    public var redirection: Redirection?
    public var cause: (any Error)?

    public init(
        _ code: Code,
        server: String = "",
        _ message: String,
        retry: RetrySafety = .permanent,
        cause: (any Error)? = nil
    ) {
        self.code = code
        self.server = server
        self.message = message
        self.retry = retry
        self.cause = cause
    }

    /// The stream or the group is not there.
    package var isMissingKey: Bool {
        self.code == .noGroup || (self.code == .server && self.message.contains("no such key"))
    }

    public var description: String {
        "\(self.code): " + (self.server.isEmpty ? "" : "\(self.server): ") + self.message
            + (self.cause.map { " (\($0))" } ?? "")
    }
}

extension RESPError {
    /// Reads a refusal: its first word decides the code, whether trying again is safe, and the advice.
    package init(refusal: String, command: String = "", server: String = "") {
        let word = refusal.prefix { $0 != " " }
        let known = Self.known(word: word, text: refusal)
        var retry = known.retry
        // A script that was refused in its middle has run up to there.
        if retry == .notSent, refusal.contains("script: ") || refusal.contains(" on @user_") { retry = .mayHaveRun }
        let place = command.isEmpty ? "" : "\(command): "
        self.init(
            known.code,
            server: server,
            place + refusal + (known.advice.isEmpty ? "" : "; " + known.advice),
            retry: retry
        )
        if known.code == .moved || known.code == .ask { self.redirection = Redirection(refusal: refusal) }
    }

    private static func known(
        word: Substring,
        text: String
    ) -> (code: Code, retry: RetrySafety, advice: String) {
        switch word {
        case "WRONGPASS": (.wrongPassword, .permanent, "check the user name and the password of the configuration")
        case "NOAUTH": (.authenticationRequired, .permanent, "set a password in the configuration")
        case "NOPERM": (.noPermission, .permanent, "extend the user's ACL, or use another user")
        case "READONLY": (.readOnly, .notSent, "the server is a replica: connect to the master, or wait for fail-over")
        case "OOM": (.outOfMemory, .notSent, "trim streams or raise maxmemory; reads still work")
        case "LOADING": (.loading, .notSent, "the server is starting: try again")
        case "BUSY": (.busy, .notSent, "a script runs too long: wait, or SCRIPT KILL")
        case "MOVED": (.moved, .permanent, "send it to the node that is named")
        case "ASK": (.ask, .permanent, "send ASKING and the command to the node that is named, this once")
        case "TRYAGAIN": (.tryAgain, .notSent, "the slot is moving: try again")
        case "CLUSTERDOWN": (.clusterDown, .notSent, "see CLUSTER INFO")
        case "CROSSSLOT": (.crossSlot, .permanent, "give the keys one hash tag, as in {orders}:a and {orders}:b")
        case "MASTERDOWN": (.masterDown, .notSent, "the replica has lost its master: wait or connect elsewhere")
        case "NOREPLICAS": (.noReplicas, .notSent, "wait for replicas, or lower min-replicas-to-write")
        case "MISCONF": (.misconfigured, .notSent, "the server cannot save: look at its disk and its log")
        case "NOSCRIPT": (.noScript, .permanent, "load it with SCRIPT LOAD, or use eval(_:), which does")
        case "NOGROUP": (.noGroup, .permanent, "create the group with XGROUP CREATE … MKSTREAM")
        case "BUSYGROUP": (.groupExists, .permanent, "use the group that is there")
        case "WRONGTYPE": (.wrongType, .permanent, "another program uses this key: choose another name")
        case "UNBLOCKED": (.unblocked, .notSent, "look whether the stream and its group are still there")
        case "EXECABORT": (.transactionAborted, .permanent, "mend the command that was refused")
        case "ERR" where text.hasPrefix("ERR unknown command") || text.hasPrefix("ERR unknown subcommand"):
            (.unknownCommand, .permanent, "the server is older than the command")
        case "ERR" where text.contains("invalid password") || text.contains("invalid username-password"):
            (.wrongPassword, .permanent, "check the user name and the password of the configuration")
        default: (.server, .permanent, "")
        }
    }
}

extension RESPError.Redirection {
    /// `MOVED 3999 127.0.0.1:6381`. The host may be empty (the one that was asked) or an IPv6 address.
    init?(refusal: String) {
        let words = refusal.split(separator: " ")
        guard words.count >= 3, let slot = Int(words[1]), (0..<16_384).contains(slot),
            let colon = words[2].lastIndex(of: ":"), let port = Int(words[2][words[2].index(after: colon)...]),
            (1...65_535).contains(port)
        else { return nil }
        self.init(slot: slot, host: String(words[2][..<colon]), port: port)
    }
}
