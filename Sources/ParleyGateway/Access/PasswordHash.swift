internal import CCrypt
internal import Crypto
internal import Synchronization

/// The hash of a password as a user file has it.
///
/// `$apr1$`, `{SHA}`, `{SSHA}` and `{PLAIN}` are computed here; whatever else goes to the system's `crypt`: DES, `$1$`,
/// `$5$`, `$6$`, `$2y$` and `$y$` on Linux, DES alone on macOS.
enum PasswordHash {
    /// Whether the password gives this hash. May take a tenth of a second and more: the point of most schemes.
    static func matches(_ password: [UInt8], _ hash: [UInt8]) -> Bool {
        // A C string would end at the NUL: what follows it would not count.
        guard !hash.isEmpty, !password.contains(0), !hash.contains(0) else { return false }
        if hash.starts(with: "$apr1$".utf8) { return isEqualInConstantTime(APR1.hash(password, setting: hash), hash) }
        if hash.starts(with: "{PLAIN}".utf8) { return isEqualInConstantTime(password, Array(hash.dropFirst(7))) }
        if hash.starts(with: "{SHA}".utf8) {
            guard let digest = AccessBase64.decode(hash.dropFirst(5)) else { return false }
            return isEqualInConstantTime(Array(Insecure.SHA1.hash(data: password)), digest)
        }
        if hash.starts(with: "{SSHA}".utf8) {
            guard let decoded = AccessBase64.decode(hash.dropFirst(6)), decoded.count >= 20 else { return false }
            let digest = Insecure.SHA1.hash(data: password + decoded.dropFirst(20))
            return isEqualInConstantTime(Array(digest), Array(decoded.prefix(20)))
        }
        guard let computed = self.system(password, setting: hash) else { return false }
        return isEqualInConstantTime(computed, hash)
    }

    #if canImport(Darwin)
    /// `crypt` of macOS answers in memory of its own, one at a time.
    private static let turn = Mutex(())
    #endif

    private static func system(_ password: [UInt8], setting: [UInt8]) -> [UInt8]? {
        var output = [CChar](repeating: 0, count: 512)
        let passwordString = (password + [0]).map { CChar(bitPattern: $0) }
        let settingString = (setting + [0]).map { CChar(bitPattern: $0) }
        #if canImport(Darwin)
        let written = Self.turn.withLock { _ in parley_crypt(passwordString, settingString, &output, output.count) }
        #else
        let written = parley_crypt(passwordString, settingString, &output, output.count)
        #endif
        guard written != 0 else { return nil }
        let hash = output.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        // What a libcrypt answers to a setting that it does not know; as a hash in a file it would match itself.
        return hash.first == UInt8(ascii: "*") ? nil : hash
    }
}

/// Compares all bytes, whatever the first ones say: how long it takes tells only the lengths.
func isEqualInConstantTime(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    var difference: UInt8 = 0
    for (one, other) in zip(left, right) { difference |= one ^ other }
    return difference == 0
}

/// Apache's variant of the MD5 crypt of FreeBSD: a thousand rounds in a fixed disorder, and an alphabet of its own.
enum APR1 {
    private static let magic = Array("$apr1$".utf8)
    private static let alphabet = Array("./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)
    /// Which bytes of the digest make up each group of four characters.
    private static let groups = [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)]

    static func hash(_ password: [UInt8], setting: [UInt8]) -> [UInt8] {
        let salt = Array(setting.dropFirst(self.magic.count).prefix(8).prefix { $0 != UInt8(ascii: "$") })
        var digest = self.first(password, salt)
        for round in 0..<1_000 {
            let isOdd = round % 2 == 1
            var md5 = Insecure.MD5()
            md5.update(data: isOdd ? password : digest)
            if round % 3 != 0 { md5.update(data: salt) }
            if round % 7 != 0 { md5.update(data: password) }
            md5.update(data: isOdd ? digest : password)
            digest = Array(md5.finalize())
        }
        return self.magic + salt + [UInt8(ascii: "$")] + self.encoded(digest)
    }

    private static func first(_ password: [UInt8], _ salt: [UInt8]) -> [UInt8] {
        let inner = Array(Insecure.MD5.hash(data: password + salt + password))
        var md5 = Insecure.MD5()
        md5.update(data: password + self.magic + salt)
        var left = password.count
        while left > 0 {
            md5.update(data: inner.prefix(min(left, 16)))
            left -= 16
        }
        var bits = password.count
        while bits > 0 {
            md5.update(data: bits & 1 == 1 ? [0] : Array(password.prefix(1)))
            bits >>= 1
        }
        return Array(md5.finalize())
    }

    private static func encoded(_ digest: [UInt8]) -> [UInt8] {
        var text: [UInt8] = []
        func write(_ value: UInt32, _ count: Int) {
            var rest = value
            for _ in 0..<count {
                text.append(self.alphabet[Int(rest & 0x3F)])
                rest >>= 6
            }
        }
        for (high, middle, low) in self.groups {
            write(UInt32(digest[high]) << 16 | UInt32(digest[middle]) << 8 | UInt32(digest[low]), 4)
        }
        write(UInt32(digest[11]), 2)
        return text
    }
}
