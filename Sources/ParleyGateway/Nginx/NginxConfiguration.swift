/// nginx's configuration language, read into the gateway's model.
///
/// What is written in it means here what it means in nginx 1.22, or it is an error: nothing is silently left out. What
/// has no effect and is harmless (`tcp_nodelay`) is accepted; what somebody may rely on (`user`) is accepted with a
/// warning.
package enum NginxConfiguration {
    /// What is accepted and yet deserves a look.
    package struct Warning: Sendable, Hashable, CustomStringConvertible {
        package var place: NginxPlace
        package var message: String

        package var description: String { "\(self.place): \(self.message)" }
    }

    package static let warningLimit = 100

    /// Reads a whole `nginx.conf`, or a file as it lies under `conf.d`, which is taken as the inside of `http`.
    ///
    /// Relative names are in the folder of the file. `cores` is how many workers `worker_processes auto` means: nginx
    /// counts `worker_connections` per worker, the model in all. All problems are collected, not only the first.
    package static func read(
        path: String,
        files: any NginxFiles = NginxDiskFiles(),
        cores: Int = 1
    ) throws(NginxErrors) -> (GatewayModel, [Warning]) {
        let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? ""
        var parser = NginxParser(files: files, folder: folder)
        let tree = parser.read(path)
        var reader = NginxReader(folder: folder, tree: tree)
        let isWhole = Self.isWhole(tree)
        var scope = NginxScope(context: isWhole ? .main : .http)
        _ = reader.level(tree, &scope)
        if !parser.isBroken {
            if isWhole, !scope.seen.contains("events"), parser.problems.isEmpty, reader.problems.isEmpty {
                reader.reportLate(
                    "no \"events\" section in configuration",
                    at: NginxPlace(file: path, line: 1, column: 1),
                    hint: "write \"events {}\", or only what stands inside of http"
                )
            }
            if isWhole, !scope.seen.contains("worker_processes") { reader.model.workers = 1 }
            reader.finish(isWhole: isWhole, cores: max(1, cores))
        }
        // What is seen only at the end means little when not everything could be read.
        let found = reader.problems.filter { !parser.isBroken || !$0.isLate }
        let problems = parser.problems + found
        guard problems.isEmpty else { throw NginxErrors(problems) }
        return (reader.model, reader.warnings)
    }

    /// The directives that can be written, and whether each has an effect: for the documentation.
    package static var directives: [(name: String, hasEffect: Bool)] {
        NginxTable.all.rules.map { name, rules in
            let hasEffect = rules.contains { rule in
                if case .ignored = rule.effect { return false }
                return true
            }
            return (name, hasEffect)
        }.sorted { $0.name < $1.name }
    }

    /// The first directive that stands on only one of the two levels decides.
    private static func isWhole(_ tree: [NginxDirective]) -> Bool {
        for directive in tree {
            let contexts = (NginxTable.all.rules[directive.name.text] ?? []).reduce(NginxContexts()) {
                $0.union($1.contexts)
            }
            switch (contexts.contains(.main), contexts.contains(.http)) {
            case (true, false): return true
            case (false, true): return false
            default: if directive.name.text == "stream" || directive.name.text == "mail" { return true }
            }
        }
        return true
    }
}
