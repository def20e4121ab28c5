internal import ParleyCore

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

/// A name that says to a person where a consumer is, and that no other process ever has.
enum ConsumerName {
    static func ofThisProcess(random: any RandomSource) -> String {
        var buffer = [CChar](repeating: 0, count: 256)
        let known = gethostname(&buffer, buffer.count - 1) == 0
        let text = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let host = text.prefix(64).filter { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-") }
        let suffix = String(random.next() & 0xFF_FFFF_FFFF, radix: 36)
        return "\(known && !host.isEmpty ? String(host) : "host").\(getpid()).\(suffix)"
    }
}
