import Testing

@testable import ParleyGateway

@Suite struct PathTreeTests {
    @Test(arguments: 0..<20) func agreesWithALinearSearch(_ seed: UInt64) {
        var numbers = SeededNumbers(seed)
        let letters: [UInt8] = seed % 2 == 0 ? Array("/ab".utf8) : Array("/abcdefghijklmnopqrstuvwxyz".utf8)
        func text(_ longest: Int) -> [UInt8] {
            (0..<Int.random(in: 0...longest, using: &numbers)).map { _ in letters.randomElement(using: &numbers) ?? 0 }
        }
        let wanted = Int.random(in: 0...60, using: &numbers)
        let paths = Set((0..<wanted).map { _ in text(6) }).sorted { $0.lexicographicallyPrecedes($1) }
        let tree = PathTree(paths)
        for _ in 0..<500 {
            let text = text(8)
            let found = tree.search(text.span)
            let prefixes = paths.indices.filter { text.starts(with: paths[$0]) }.sorted {
                paths[$0].count < paths[$1].count
            }
            #expect(found.longest == prefixes.last)
            #expect(found.isWhole == paths.contains(text))
            #expect(found.withSlash == paths.firstIndex(of: text + [0x2F]))
            var chain: [Int] = []
            var place = found.longest
            while let path = place {
                chain.append(path)
                place = tree.shorter(than: path)
            }
            #expect(chain == prefixes.reversed())
        }
    }

    @Test func holdsThousandsOfPaths() {
        let paths = (0..<5_000).map { Array("/service-\($0)/".utf8) }.sorted { $0.lexicographicallyPrecedes($1) }
        let tree = PathTree(paths)
        for (place, path) in paths.enumerated() {
            #expect(tree.search((path + Array("x".utf8)).span).longest == place)
        }
    }
}
