internal import NIOSSL
internal import ParleyCore

/// Reads the PEM files of one configuration and remembers in which version it saw each.
struct TLSFiles {
    private static let maxBytes = 4 * 1_048_576

    private let now: Timestamp
    private(set) var warnings: [TLSWarning] = []
    /// `nil` for a file that was not there.
    private(set) var stamps: [String: FileStamp?] = [:]

    init(now: Timestamp) {
        self.now = now
    }

    mutating func certificates(_ path: String, warns: Bool = true) throws(TLSProblem) -> [NIOSSLCertificate] {
        let bytes = try self.read(path)
        guard let certificates = try? NIOSSLCertificate.fromPEMBytes(bytes), let leaf = certificates.first else {
            throw TLSProblem(code: .noCertificate, place: path, detail: "there is no certificate in it")
        }
        if warns { self.check(leaf, path) }
        return certificates
    }

    mutating func key(_ path: String) throws(TLSProblem) -> NIOSSLPrivateKey {
        let bytes = try self.read(path)
        guard let key = try? NIOSSLPrivateKey(bytes: bytes, format: .pem) else {
            throw TLSProblem(code: .noKey, place: path, detail: "there is no private key in it that can be read")
        }
        return key
    }

    /// Whether any of the files has another version now.
    static func haveChanged(_ stamps: [String: FileStamp?]) -> Bool {
        stamps.contains { path, stamp in (try? FileReading.stamp(of: path)) != stamp }
    }

    private mutating func read(_ path: String) throws(TLSProblem) -> [UInt8] {
        self.stamps[path] = .some(nil)
        do throws(FileProblem) {
            let read = try FileReading.read(path, limit: Self.maxBytes)
            self.stamps[path] = read.stamp
            return read.bytes
        } catch {
            let code: TLSProblem.Code = error.kind == .notFound ? .notFound : .unreadable
            throw TLSProblem(code: code, place: path, detail: error.detail)
        }
    }

    private mutating func check(_ certificate: NIOSSLCertificate, _ path: String) {
        let end = Self.timestamp(Int64(certificate.notValidAfter))
        let start = Self.timestamp(Int64(certificate.notValidBefore))
        if end < self.now { self.warnings.append(TLSWarning(code: .expired, file: path, date: end)) }
        if self.now < start { self.warnings.append(TLSWarning(code: .notYetValid, file: path, date: start)) }
    }

    private static func timestamp(_ seconds: Int64) -> Timestamp {
        let (microseconds, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000)
        return Timestamp(microseconds: overflow ? (seconds < 0 ? .min : .max) : microseconds)
    }
}
