internal import CPCRE2
package import NIOCore

/// A regular expression, compiled by PCRE2 as nginx does: on bytes, without Unicode, with just-in-time code where the
/// machine has it.
///
/// What PCRE2 has compiled is only read from then on, so that all event loops share it; hence `@unchecked`. What a
/// match writes to is in the ``RegexScratch`` of the event loop.
package final class CompiledRegex: @unchecked Sendable {
    package struct NamedGroup: Sendable, Hashable {
        package var name: String
        package var number: Int
    }

    /// More than any rule can read: `$1` to `$9`, and names.
    package static let maxGroups = 63

    package let model: RegexModel
    package let groupCount: Int
    package let names: [NamedGroup]
    private let code: OpaquePointer

    package init(_ model: RegexModel) throws(RegexProblem) {
        self.model = model
        var errorCode: Int32 = 0
        var errorOffset = 0
        let bytes = Array(model.pattern.utf8)
        let options = model.ignoresCase ? UInt32(PCRE2_CASELESS) : 0
        let compiled = bytes.withUnsafeBufferPointer { pattern in
            pcre2_compile_8(pattern.baseAddress, pattern.count, options, &errorCode, &errorOffset, nil)
        }
        guard let compiled else {
            let reason = RegexProblem.Reason.syntax(message: Self.message(errorCode), offset: errorOffset)
            throw RegexProblem(pattern: model.pattern, reason: reason)
        }
        var count: UInt32 = 0
        pcre2_pattern_info_8(compiled, UInt32(PCRE2_INFO_CAPTURECOUNT), &count)
        guard count <= Self.maxGroups else {
            pcre2_code_free_8(compiled)
            throw RegexProblem(pattern: model.pattern, reason: .tooManyGroups(limit: Self.maxGroups))
        }
        // Without such code (an unusual machine, a hardened kernel) the interpreter does the same, slower.
        _ = pcre2_jit_compile_8(compiled, UInt32(PCRE2_JIT_COMPLETE))
        self.code = compiled
        self.groupCount = Int(count)
        self.names = Self.names(of: compiled)
    }

    deinit { pcre2_code_free_8(self.code) }

    /// Whether it is found anywhere in the subject.
    package func matches(_ subject: ByteBuffer, scratch: RegexScratch) -> Bool {
        self.run(subject, scratch: scratch) != nil
    }

    /// The same, and on a match the groups are what `$1` … `$9` mean from now on, and named ones set their variables.
    package func matches(
        _ subject: ByteBuffer,
        scratch: RegexScratch,
        variables: inout RequestVariables
    ) -> Bool {
        guard let groups = self.run(subject, scratch: scratch) else { return false }
        variables.beginCaptures(of: subject, capacity: self.groupCount)
        for number in 0..<min(groups.count / 2, self.groupCount + 1) where number > 0 {
            variables.appendCapture(Self.range(of: number, in: groups))
        }
        for group in self.names { variables.set(group.name, toCapture: group.number) }
        return true
    }

    /// Begin and end of the whole and of each group up to the last that took part.
    private func run(_ subject: ByteBuffer, scratch: RegexScratch) -> UnsafeBufferPointer<Int>? {
        guard let data = scratch.matchData else {
            scratch.failure = RegexFailure(pattern: self.model.pattern, reason: .other(Int(PCRE2_ERROR_NOMEMORY)))
            return nil
        }
        let found = subject.withUnsafeReadableBytes { bytes in
            // PCRE2 wants an address even of nothing.
            guard let start = bytes.bindMemory(to: UInt8.self).baseAddress else {
                return withUnsafePointer(to: 0) { pcre2_match_8(self.code, $0, 0, 0, 0, data, scratch.context) }
            }
            return pcre2_match_8(self.code, start, bytes.count, 0, 0, data, scratch.context)
        }
        if found > 0 { return UnsafeBufferPointer(start: pcre2_get_ovector_pointer_8(data), count: Int(found) * 2) }
        if found != PCRE2_ERROR_NOMATCH {
            scratch.failure = RegexFailure(pattern: self.model.pattern, reason: Self.reason(found))
        }
        return nil
    }

    /// A group that took no part is empty.
    private static func range(of number: Int, in groups: UnsafeBufferPointer<Int>) -> ByteRange {
        let start = groups[number * 2]
        let end = groups[number * 2 + 1]
        return start >= 0 && end >= start ? ByteRange(start: start, count: end - start) : .empty
    }

    private static func reason(_ code: Int32) -> RegexFailure.Reason {
        switch code {
        case PCRE2_ERROR_MATCHLIMIT, PCRE2_ERROR_DEPTHLIMIT, PCRE2_ERROR_HEAPLIMIT, PCRE2_ERROR_JIT_STACKLIMIT:
            .limitReached
        default: .other(Int(code))
        }
    }

    private static func message(_ code: Int32) -> String {
        var text = [UInt8](repeating: 0, count: 256)
        let count = text.withUnsafeMutableBufferPointer { pcre2_get_error_message_8(code, $0.baseAddress, $0.count) }
        guard count > 0 else { return "error \(code)" }
        return String(decoding: text.prefix(Int(count)), as: UTF8.self)
    }

    /// PCRE2's table: entries of one size, each the number in two bytes and the name, ended by a zero.
    private static func names(of code: OpaquePointer) -> [NamedGroup] {
        var count: UInt32 = 0
        var entrySize: UInt32 = 0
        var table: UnsafePointer<UInt8>?
        pcre2_pattern_info_8(code, UInt32(PCRE2_INFO_NAMECOUNT), &count)
        pcre2_pattern_info_8(code, UInt32(PCRE2_INFO_NAMEENTRYSIZE), &entrySize)
        pcre2_pattern_info_8(code, UInt32(PCRE2_INFO_NAMETABLE), &table)
        guard let table, entrySize > 2 else { return [] }
        return (0..<Int(count)).map { index in
            let entry = UnsafeBufferPointer(start: table + index * Int(entrySize), count: Int(entrySize))
            let name = entry.dropFirst(2).prefix { $0 != 0 }
            return NamedGroup(
                name: String(decoding: name, as: UTF8.self),
                number: Int(entry[0]) << 8 | Int(entry[1])
            )
        }
    }
}

/// What matches of one event loop write to, and how much one of them may take. Not to be shared between threads.
package final class RegexScratch {
    /// In PCRE2's own measure, roughly the times that it tries something again: at worst a few milliseconds. A tenth of
    /// its default, since an event loop does nothing else meanwhile.
    package static let matchLimit: UInt32 = 1_000_000
    static let maxStack = 512 * 1024
    static let maxHeapKiB: UInt32 = 8 * 1024

    fileprivate let matchData: OpaquePointer?
    fileprivate let context: OpaquePointer?
    private let stack: OpaquePointer?
    /// The last match that was given up, until somebody has taken note of it.
    package var failure: RegexFailure?

    package init(matchLimit: UInt32 = RegexScratch.matchLimit) {
        self.matchData = pcre2_match_data_create_8(UInt32(CompiledRegex.maxGroups + 1), nil)
        self.context = pcre2_match_context_create_8(nil)
        self.stack = pcre2_jit_stack_create_8(32 * 1024, Self.maxStack, nil)
        guard let context = self.context else { return }
        pcre2_set_match_limit_8(context, matchLimit)
        pcre2_set_heap_limit_8(context, Self.maxHeapKiB)
        if let stack = self.stack {
            pcre2_jit_stack_assign_8(context, nil, UnsafeMutableRawPointer(stack))
        }
    }

    deinit {
        pcre2_match_data_free_8(self.matchData)
        pcre2_match_context_free_8(self.context)
        pcre2_jit_stack_free_8(self.stack)
    }

    /// The last match that was given up, once.
    package func takeFailure() -> RegexFailure? {
        defer { self.failure = nil }
        return self.failure
    }
}
