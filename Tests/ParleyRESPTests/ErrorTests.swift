import ParleyCore
import RedisTestSupport
import Testing

@testable import ParleyRESP

@Suite struct ErrorTests {
    @Test(
        arguments: [
            ("WRONGPASS invalid username-password pair or user is disabled.", .wrongPassword, .permanent),
            ("ERR invalid password", .wrongPassword, .permanent),
            ("NOAUTH Authentication required.", .authenticationRequired, .permanent),
            ("NOPERM this user has no permissions to run the 'flushall' command", .noPermission, .permanent),
            ("READONLY You can't write against a read only replica.", .readOnly, .notSent),
            ("OOM command not allowed when used memory > 'maxmemory'.", .outOfMemory, .notSent),
            (
                "OOM command not allowed when used memory > 'maxmemory'. script: a5260dd66ce02462, on @user_script:1.",
                .outOfMemory, .mayHaveRun
            ),
            ("LOADING Redis is loading the dataset in memory", .loading, .notSent),
            ("BUSY Redis is busy running a script.", .busy, .notSent),
            ("TRYAGAIN Multiple keys request during rehashing of slot", .tryAgain, .notSent),
            ("CLUSTERDOWN The cluster is down", .clusterDown, .notSent),
            ("CROSSSLOT Keys in request don't hash to the same slot", .crossSlot, .permanent),
            ("MASTERDOWN Link with MASTER is down", .masterDown, .notSent),
            ("NOREPLICAS Not enough good replicas to write.", .noReplicas, .notSent),
            ("MISCONF Redis is configured to save RDB snapshots", .misconfigured, .notSent),
            ("NOSCRIPT No matching script. Please use EVAL.", .noScript, .permanent),
            ("NOGROUP No such key 's' or consumer group 'g'", .noGroup, .permanent),
            ("BUSYGROUP Consumer Group name already exists", .groupExists, .permanent),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", .wrongType, .permanent),
            ("UNBLOCKED the stream key no longer exists", .unblocked, .notSent),
            ("EXECABORT Transaction discarded because of previous errors.", .transactionAborted, .permanent),
            ("ERR unknown command 'XNACK', with args beginning with:", .unknownCommand, .permanent),
            ("ERR syntax error", .server, .permanent),
            ("", .server, .permanent),
        ] as [(String, RESPError.Code, RetrySafety)]
    )
    func refusalsAreClassified(_ text: String, _ code: RESPError.Code, _ retry: RetrySafety) {
        let error = RESPError(refusal: text, command: "XADD")
        #expect(error.code == code)
        #expect(error.retry == retry)
        #expect(error.description.contains(text))
    }

    @Test func redirectionsSayWhere() {
        let moved = RESPError(refusal: "MOVED 3999 127.0.0.1:6381")
        #expect(moved.code == .moved)
        #expect(moved.redirection?.slot == 3_999)
        #expect(moved.redirection?.host == "127.0.0.1")
        #expect(moved.redirection?.port == 6_381)
        #expect(RESPError(refusal: "ASK 1 ::1:6381").redirection?.host == "::1")
        for broken in ["MOVED", "MOVED x y", "MOVED 99999 a:1", "MOVED 1 a:0", "MOVED 1 a:99999", "MOVED 1 a"] {
            let error = RESPError(refusal: broken)
            #expect(error.code == .moved && error.redirection == nil)
        }
    }

    @Test func commandsKnowWhetherTheyBlock() {
        #expect(RESPCommand(["XREAD", "COUNT", "1", "STREAMS", "BLOCK", "0"]).blocking == .never)
        #expect(RESPCommand(["xread", "block", "5", "streams", "s", "0"]).blocking == .upTo(.milliseconds(5)))
        #expect(RESPCommand(["XREADGROUP", "GROUP", "BLOCK", "STREAMS", "STREAMS", "s", ">"]).blocking == .never)
        #expect(RESPCommand(["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">"]).blocking == .forever)
        #expect(RESPCommand(["XREAD", "BLOCK"]).blocking == .never)
        #expect(RESPCommand(["BLPOP", "k", "1.5"]).blocking == .upTo(.milliseconds(1_500)))
        #expect(RESPCommand(["BLPOP", "k", "0"]).blocking == .forever)
        #expect(RESPCommand(["BLMPOP", "2", "1", "k", "LEFT"]).blocking == .upTo(.seconds(2)))
        #expect(RESPCommand([]).blocking == .never)
        #expect(RESPCommand([]).changesProtocol)
    }

    @Test func accessorsNeverTrap() {
        let odd = RESPValue.array([.number(1)])
        #expect(odd.pairs == nil)
        #expect(odd["x"] == nil)
        #expect(RESPValue.bulkString([0xFF]).string == nil)
        #expect(RESPValue.bulkString(Array("12".utf8)).integer == 12)
        #expect(RESPValue.bulkString(Array("1.5".utf8)).real == 1.5)
        #expect(RESPValue.attributed([], .attributed([], .null)).isNull)
        #expect(RESPValue.number(2).bool == nil)
        #expect(
            StreamID("1-2-3") == nil && StreamID("") == nil && StreamID("-1") == nil && StreamID("5")?.sequence == 0
        )
    }
}
