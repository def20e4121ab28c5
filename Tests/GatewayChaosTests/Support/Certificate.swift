internal import Foundation
internal import ProcessTestSupport

/// Certificates that sign themselves.
enum Certificate {
    /// `number.pem` and `number.key`, for a name that has the number in it.
    static func make(_ number: Int, in folder: ChaosFolder) async throws {
        let answer = try await Subprocess.run(
            "/usr/bin/env",
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "30", "-subj", "/CN=certificate-\(number)", "-addext", "subjectAltName=DNS:localhost",
                "-keyout", folder.file("\(number).key"), "-out", folder.file("\(number).pem"),
            ]
        )
        guard answer.status == 0 else { throw TestSupportError(answer.error) }
    }

    /// The new pair takes the place of the old one, each file at once.
    static func show(_ number: Int, in folder: ChaosFolder) throws {
        for kind in ["key", "pem"] {
            let text = try String(contentsOfFile: folder.file("\(number).\(kind)"), encoding: .utf8)
            try folder.write(text, to: "server.\(kind)")
        }
    }
}
