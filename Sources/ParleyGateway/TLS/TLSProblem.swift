package import ParleyCore

/// Why certificates, keys or settings of TLS cannot be used: which file, what is wrong, what to do.
package struct TLSProblem: RetryClassifiedError, Hashable, CustomStringConvertible {
    package enum Code: Sendable, Hashable {
        case notFound
        case unreadable
        /// The file has no certificate in PEM form.
        case noCertificate
        /// The file has no private key in PEM form, or one behind a passphrase.
        case noKey
        /// The key is not the certificate's.
        case keyMismatch
        /// Client certificates are to be verified, and nothing says against whom.
        case noAuthorities
        /// Of the ciphers that are named, the library has none.
        case ciphers
        /// A name that cannot be a host's.
        case hostname
        /// The library refuses the whole.
        case refused
    }

    package var code: Code
    /// The file, or the setting.
    package var place: String
    package var detail: String

    package var retry: RetrySafety { .permanent }

    package var description: String {
        let advice =
            switch self.code {
            case .notFound: "Check the path."
            case .unreadable: "Check that the gateway's user may read it."
            case .noCertificate: "It must have the certificate, then those of its issuers, each in PEM form."
            case .noKey: "It must have one private key in PEM form, without a passphrase."
            case .keyMismatch: "Certificate and key must have been made for each other."
            case .noAuthorities: "Name a file with the certificates of the authorities."
            case .ciphers: "Name ciphers of TLS 1.2 that offer forward secrecy, or leave the setting out."
            case .hostname: "Give a name of DNS."
            case .refused: "Check the certificate with `openssl x509 -text`."
            }
        return "TLS: \(self.place): \(self.detail). \(advice)"
    }
}

/// What is no error yet.
package struct TLSWarning: Sendable, Hashable, CustomStringConvertible {
    package enum Code: Sendable, Hashable { case expired, notYetValid }

    package var code: Code
    package var file: String
    package var date: Timestamp

    package var description: String {
        switch self.code {
        case .expired: "TLS: \(self.file): the certificate expired on \(self.date); clients will refuse it"
        case .notYetValid: "TLS: \(self.file): the certificate is only valid from \(self.date) on"
        }
    }
}
