import ParleyGateway

/// Files that exist only in a test.
struct NginxMemoryFiles: NginxFiles {
    var files: [String: [UInt8]]

    init(_ files: [String: String]) { self.files = files.mapValues { Array($0.utf8) } }

    func contents(of path: String, limit: Int) throws(NginxFileError) -> [UInt8] {
        guard let bytes = self.files[path] else {
            throw NginxFileError("open() \"\(path)\" failed (2: No such file or directory)")
        }
        guard bytes.count <= limit else { throw NginxFileError("\"\(path)\" has more than \(limit) bytes") }
        return bytes
    }

    /// Only a `*` in the last part of a path.
    func matches(of pattern: String, limit: Int) throws(NginxFileError) -> [String] {
        let halves = pattern.split(separator: "*", omittingEmptySubsequences: false)
        guard halves.count == 2 else { throw NginxFileError("glob() \"\(pattern)\" failed") }
        return self.files.keys.filter { $0.hasPrefix(String(halves[0])) && $0.hasSuffix(String(halves[1])) }.sorted()
    }
}

/// Reads a text as the file `/etc/nginx/test.conf`.
func nginxModel(_ text: String, _ others: [String: String] = [:]) throws(NginxErrors) -> GatewayModel {
    try nginxModelWithWarnings(text, others).0
}

func nginxModelWithWarnings(
    _ text: String,
    _ others: [String: String] = [:],
    cores: Int = 1
) throws(NginxErrors) -> (GatewayModel, [NginxConfiguration.Warning]) {
    let files = NginxMemoryFiles(others.merging(["/etc/nginx/test.conf": text]) { $1 })
    return try NginxConfiguration.read(path: "/etc/nginx/test.conf", files: files, cores: cores)
}

/// The problems of a text that must not be accepted.
func nginxProblems(_ text: String, _ others: [String: String] = [:]) -> [NginxProblem] {
    do throws(NginxErrors) {
        _ = try nginxModel(text, others)
        return []
    } catch {
        return error.problems
    }
}

extension Template {
    /// For comparisons: `http://$host`.
    init(_ parts: Part...) { self.init(parts: parts) }
}

extension Template.Part {
    static func text(_ text: String) -> Template.Part { .text(Array(text.utf8)) }
}
