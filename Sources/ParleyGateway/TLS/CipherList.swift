/// OpenSSL's language for lists of ciphers (`HIGH:!aNULL`, `ECDHE+AESGCM:-SHA1`), for TLS 1.2.
///
/// Read here and handed on as plain names: the library ends the process over a list that it cannot read. Words that it
/// does not know are passed over, as OpenSSL does; those of TLS 1.3 are not for choice.
enum CipherList {
    private struct Cipher {
        var name: String
        var words: Set<String>
    }

    /// In the order of preference that `ALL` gives.
    private static let known: [Cipher] = [
        cipher("ECDHE-ECDSA-AES128-GCM-SHA256"), cipher("ECDHE-RSA-AES128-GCM-SHA256"),
        cipher("ECDHE-ECDSA-AES256-GCM-SHA384"), cipher("ECDHE-RSA-AES256-GCM-SHA384"),
        cipher("ECDHE-ECDSA-CHACHA20-POLY1305"), cipher("ECDHE-RSA-CHACHA20-POLY1305"),
        cipher("ECDHE-ECDSA-AES128-SHA"), cipher("ECDHE-RSA-AES128-SHA"),
        cipher("ECDHE-ECDSA-AES256-SHA"), cipher("ECDHE-RSA-AES256-SHA"),
        cipher("AES128-GCM-SHA256"), cipher("AES256-GCM-SHA384"), cipher("AES128-SHA"), cipher("AES256-SHA"),
    ]

    /// The ciphers' names, separated by colons; `nil` when none is left.
    static func names(of list: String) -> String? {
        var active: [String] = []
        var killed: Set<String> = []
        for word in list.split(whereSeparator: { ":, ;\t\n".contains($0) }) {
            guard let first = word.first, first != "@" else { continue }
            let matching = self.matching("!-+".contains(first) ? word.dropFirst() : word)
            switch first {
            case "!":
                killed.formUnion(matching)
                active.removeAll { matching.contains($0) }
            case "-":
                active.removeAll { matching.contains($0) }
            case "+":
                let moved = active.filter { matching.contains($0) }
                active.removeAll { matching.contains($0) }
                active += moved
            default:
                active += matching.filter { !killed.contains($0) && !active.contains($0) }
            }
        }
        return active.isEmpty ? nil : active.joined(separator: ":")
    }

    /// All the words that are joined by `+` must fit.
    private static func matching(_ expression: Substring) -> [String] {
        let words = expression.split(separator: "+").map { String($0) }
        guard !words.isEmpty else { return [] }
        return self.known.filter { cipher in words.allSatisfy { cipher.words.contains($0) } }.map(\.name)
    }

    private static func cipher(_ name: String) -> Cipher {
        var words: Set<String> = [name, "ALL", "DEFAULT", "HIGH"]
        let parts = name.split(separator: "-").map { String($0) }
        if parts.contains("ECDHE") {
            words.formUnion(["ECDHE", "EECDH", "kECDHE", "kEECDH"])
            words.formUnion(parts.contains("ECDSA") ? ["aECDSA", "ECDSA"] : ["aRSA"])
        } else {
            words.formUnion(["RSA", "kRSA", "aRSA"])
        }
        if parts.contains("CHACHA20") { words.insert("CHACHA20") }
        for size in ["AES128", "AES256"] where parts.contains(size) { words.formUnion(["AES", size]) }
        if parts.contains("GCM") { words.insert("AESGCM") }
        words.formUnion(parts.last == "SHA" ? ["SHA", "SHA1", "TLSv1", "SSLv3"] : ["TLSv1.2"])
        return Cipher(name: name, words: words)
    }
}
