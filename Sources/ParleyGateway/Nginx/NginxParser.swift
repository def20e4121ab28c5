/// A directive: its name, what follows, and the block behind, if there is one.
struct NginxDirective: Sendable, Hashable {
    var name: NginxWord
    var arguments: [NginxWord]
    var block: [NginxDirective]?
    /// Where the block ends; `nil` when the file ended before.
    var end: NginxPlace?

    /// The argument of this index. Its number has been checked before anybody asks; the name stands in for one that is
    /// not there.
    func argument(_ index: Int) -> NginxWord { index < self.arguments.count ? self.arguments[index] : self.name }
}

/// Reads files into a tree of directives. `include` is replaced by what it includes.
struct NginxParser {
    /// What a configuration may be at most.
    struct Limits: Sendable {
        var fileBytes = 16 << 20
        var totalBytes = 64 << 20
        var files = 1_000
        var includeDepth = 32
        var blockDepth = 64
        var directives = 500_000
    }

    private let files: any NginxFiles
    private let folder: String
    private let limits: Limits
    private var order = 0
    private var filesRead = 0
    private var bytesRead = 0
    private var directives = 0
    private(set) var problems: [NginxProblem] = []
    /// Whether reading stopped before the end: what was read is incomplete.
    private(set) var isBroken = false

    /// Relative names of included files are taken to be in `folder`, that of the main file.
    init(files: any NginxFiles, folder: String, limits: Limits = Limits()) {
        self.files = files
        self.folder = folder
        self.limits = limits
    }

    /// The directives of a file. `place` is that of the `include`.
    mutating func read(_ path: String, from place: NginxPlace? = nil, depth: Int = 0) -> [NginxDirective] {
        let place = place ?? NginxPlace(file: path, line: 1, column: 1)
        let bytes: [UInt8]
        do throws(NginxFileError) {
            guard self.filesRead < self.limits.files else {
                throw NginxFileError("more than \(self.limits.files) files are included")
            }
            guard depth <= self.limits.includeDepth else {
                throw NginxFileError("\"\(path)\" is included \(depth) levels deep, it may include itself")
            }
            bytes = try self.files.contents(of: path, limit: self.limits.fileBytes)
            guard self.bytesRead + bytes.count <= self.limits.totalBytes else {
                throw NginxFileError("the files have more than \(self.limits.totalBytes) bytes together")
            }
        } catch {
            self.problems.append(NginxProblem(error.message, at: place, hint: error.hint))
            return []
        }
        self.filesRead += 1
        self.bytesRead += bytes.count
        var lexer = NginxLexer(bytes: bytes, file: path)
        return self.block(&lexer, isFile: true, depth: 0, includeDepth: depth).directives
    }

    private mutating func block(
        _ lexer: inout NginxLexer,
        isFile: Bool,
        depth: Int,
        includeDepth: Int
    ) -> (directives: [NginxDirective], end: NginxPlace?) {
        var found: [NginxDirective] = []
        while !self.isBroken {
            do throws(NginxProblem) {
                switch try lexer.next() {
                case .end(let place):
                    guard isFile else {
                        throw NginxProblem("unexpected end of file, expecting \"}\"", at: place)
                    }
                    return (found, self.numbered(place))
                case .close(let place):
                    guard !isFile else { throw NginxProblem("unexpected \"}\"", at: place) }
                    return (found, self.numbered(place))
                case .statement(let words):
                    guard let directive = try self.directive(words) else { continue }
                    guard directive.name.text == "include", directive.arguments.count == 1 else {
                        found.append(directive)
                        continue
                    }
                    found += self.include(directive.argument(0), depth: includeDepth + 1)
                case .open(let words):
                    guard var directive = try self.directive(words) else { continue }
                    guard depth < self.limits.blockDepth else {
                        throw NginxProblem(
                            "blocks are nested more than \(self.limits.blockDepth) deep",
                            at: directive.name.place
                        )
                    }
                    let inside = self.block(&lexer, isFile: false, depth: depth + 1, includeDepth: includeDepth)
                    directive.block = inside.directives
                    directive.end = inside.end
                    found.append(directive)
                }
            } catch {
                var problem = error
                problem.place = self.numbered(problem.place)
                self.problems.append(problem)
                self.isBroken = true
            }
        }
        return (found, nil)
    }

    private mutating func directive(_ words: [NginxWord]) throws(NginxProblem) -> NginxDirective? {
        let words = words.map { word in
            var word = word
            word.place = self.numbered(word.place)
            return word
        }
        guard let name = words.first else { return nil }
        self.directives += 1
        guard self.directives <= self.limits.directives else {
            throw NginxProblem("more than \(self.limits.directives) directives", at: name.place)
        }
        return NginxDirective(name: name, arguments: Array(words.dropFirst()))
    }

    private mutating func numbered(_ place: NginxPlace) -> NginxPlace {
        var place = place
        self.order += 1
        place.order = self.order
        return place
    }

    private mutating func include(_ word: NginxWord, depth: Int) -> [NginxDirective] {
        let path = nginxPath(word.text, in: self.folder)
        guard path.utf8.contains(where: { $0 == 0x2A || $0 == 0x3F || $0 == 0x5B }) else {
            return self.read(path, from: word.place, depth: depth)
        }
        var found: [NginxDirective] = []
        do throws(NginxFileError) {
            for match in try self.files.matches(of: path, limit: self.limits.files) where !self.isBroken {
                found += self.read(match, from: word.place, depth: depth)
            }
        } catch {
            self.problems.append(NginxProblem(error.message, at: word.place, hint: error.hint))
        }
        return found
    }
}

/// A name in a configuration as a path: relative ones are in the folder of the main file.
func nginxPath(_ name: String, in folder: String) -> String {
    if name.hasPrefix("/") || folder.isEmpty { return name }
    return folder.hasSuffix("/") ? folder + name : folder + "/" + name
}
