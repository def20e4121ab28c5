import ParleyCore
import Testing

/// https://www.w3.org/TR/trace-context/ and the cases of its validation suite.
@Suite struct TraceParentTests {
    private static let trace = "0af7651916cd43dd8448eb211c80319c"
    private static let span = "b7ad6b7169203331"

    @Test(arguments: [
        ("00-\(trace)-\(span)-01", true),
        ("00-\(trace)-\(span)-00", false),
        ("00-\(trace)-\(span)-ff", true),
        ("00-\(trace)-\(span)-02", false),
        ("01-\(trace)-\(span)-01", true),
        ("cc-\(trace)-\(span)-01-what-the-future-will-be-like", true),
        ("fe-\(trace)-\(span)-00-", false),
    ])
    func `accepted`(text: String, isSampled: Bool) throws {
        let parent = try #require(TraceParent(text))
        #expect(parent.traceID == Self.trace && parent.spanID == Self.span && parent.isSampled == isSampled)
        #expect(parent.description == "00-\(Self.trace)-\(Self.span)-\(isSampled ? "01" : "00")")
    }

    @Test(arguments: [
        "", "00", "-", "---", "00-\(trace)-\(span)", "00-\(trace)-\(span)-", "00-\(trace)-\(span)-1",
        "00-\(trace)-\(span)-011", "00-\(trace)-\(span)-01-", "00-\(trace)-\(span)-01-extra",
        "ff-\(trace)-\(span)-01", "0-\(trace)-\(span)-01", "000-\(trace)-\(span)-01", "0g-\(trace)-\(span)-01",
        "FE-\(trace)-\(span)-01", "00-\(trace.uppercased())-\(span)-01", "00-\(trace)-\(span.uppercased())-01",
        "00-\(trace)-\(span)-0A", "00-00000000000000000000000000000000-\(span)-01",
        "00-\(trace)-0000000000000000-01", "00-\(trace.dropLast())-\(span)-01", "00-\(trace)a-\(span)-01",
        "00-\(trace)-\(span.dropLast())-01", "00-\(trace)-\(span)a-01", "00-\(trace.dropLast())g-\(span)-01",
        "00-\(trace)-\(span)-0x", "00_\(trace)_\(span)_01", " 00-\(trace)-\(span)-01", "00-\(trace)-\(span)-01 ",
        "cc-\(trace)-\(span)-01.what", "00-\(trace)-\(span)-+1", "00-\(trace.dropLast())é-\(span)-01",
    ])
    func `refused`(text: String) { #expect(TraceParent(text) == nil) }

    @Test func `a new one is valid, and its child is of the same trace`() {
        let random = SeededRandomSource(seed: 1)
        for _ in 0..<1_000 {
            let parent = TraceParent(random: random, isSampled: false)
            #expect(TraceParent(parent.description) == parent)
            let child = parent.child(random: random)
            #expect(child.traceID == parent.traceID && child.spanID != parent.spanID && !child.isSampled)
        }
    }

    @Test func `a source of zeros makes a valid one all the same`() {
        struct Zeros: RandomSource { func next() -> UInt64 { 0 } }
        let parent = TraceParent(random: Zeros())
        #expect(TraceParent(parent.description) == parent)
    }
}
