/// Paths by their bytes: a radix tree in arrays, so that a search follows no references and allocates nothing.
///
/// It answers what a path's longest prefix among the paths is, whether it is one of them, and which of them it lacks
/// only the last slash of.
struct PathTree: Sendable {
    /// What a search found: places among the paths that the tree was made of.
    struct Found: Equatable {
        /// The longest that is a prefix; the shorter ones are its ``PathTree/shorter(than:)``.
        var longest: Int?
        /// Whether the longest is the whole.
        var isWhole: Bool
        /// The path that is this one and a slash.
        var withSlash: Int?
    }

    private struct Node: Sendable {
        var label: Range<Int>
        var children: Range<Int>
        /// The place of the path that ends here, or -1.
        var path: Int
    }

    /// The children of a node stand side by side, in the order of their first bytes.
    private var nodes: [Node] = []
    private var firstBytes: [UInt8] = []
    private var labels: [UInt8] = []
    private var shorter: [Int]

    /// - Parameter paths: Sorted by their bytes, each once.
    init(_ paths: [[UInt8]]) {
        self.shorter = Array(repeating: -1, count: paths.count)
        self.nodes = [Node(label: 0..<0, children: 0..<0, path: -1)]
        self.firstBytes = [0]
        // What is left to divide: a node, the paths below it, how many bytes lead there, and the last that ended above.
        var work: [(node: Int, paths: Range<Int>, depth: Int, above: Int)] = [(0, paths.indices, 0, -1)]
        while let (node, all, depth, last) = work.popLast() {
            var (range, above) = (all, last)
            if let first = range.first, paths[first].count == depth {
                self.nodes[node].path = first
                self.shorter[first] = above
                above = first
                range = range.dropFirst()
            }
            let children = Self.groups(of: paths, in: range, at: depth)
            let start = self.nodes.count
            self.nodes[node].children = start..<start + children.count
            for (offset, child) in children.enumerated() {
                let end = Self.commonEnd(of: paths, in: child, from: depth)
                let label = self.labels.count
                self.labels += paths[child.lowerBound][depth..<end]
                self.nodes.append(Node(label: label..<self.labels.count, children: 0..<0, path: -1))
                self.firstBytes.append(paths[child.lowerBound][depth])
                work.append((start + offset, child, end, above))
            }
        }
    }

    /// The longest path that is a prefix of this one, without being it.
    func shorter(than path: Int) -> Int? {
        let shorter = self.shorter[path]
        return shorter < 0 ? nil : shorter
    }

    func search(_ text: Span<UInt8>) -> Found {
        var found = Found(longest: nil, isWhole: false, withSlash: nil)
        let count = text.count
        var node = 0
        var position = 0
        while true {
            let path = self.nodes[node].path
            if path >= 0 { found.longest = path }
            let children = self.nodes[node].children
            if position == count {
                found.isWhole = path >= 0
                if let child = self.child(0x2F, among: children), self.nodes[child].label.count == 1 {
                    let path = self.nodes[child].path
                    found.withSlash = path < 0 ? nil : path
                }
                return found
            }
            guard let child = self.child(text[position], among: children) else { return found }
            let label = self.nodes[child].label
            position &+= 1
            for index in label.dropFirst() {
                guard position < count else {
                    // The text ends within the label: only the slash may be missing.
                    let path = self.nodes[child].path
                    if path >= 0, index == label.upperBound - 1, self.labels[index] == 0x2F { found.withSlash = path }
                    return found
                }
                guard self.labels[index] == text[position] else { return found }
                position &+= 1
            }
            node = child
        }
    }

    private func child(_ byte: UInt8, among children: Range<Int>) -> Int? {
        var low = children.lowerBound
        var high = children.upperBound
        while high &- low > 8 {
            let middle = (low &+ high) / 2
            if self.firstBytes[middle] <= byte { low = middle } else { high = middle }
        }
        while low < high {
            if self.firstBytes[low] == byte { return low }
            low &+= 1
        }
        return nil
    }

    private static func groups(of paths: [[UInt8]], in range: Range<Int>, at depth: Int) -> [Range<Int>] {
        var groups: [Range<Int>] = []
        var start = range.lowerBound
        for index in range where paths[index][depth] != paths[start][depth] {
            groups.append(start..<index)
            start = index
        }
        if start < range.upperBound { groups.append(start..<range.upperBound) }
        return groups
    }

    /// How far the paths of a group agree: as far as the first and the last of them do.
    private static func commonEnd(of paths: [[UInt8]], in range: Range<Int>, from depth: Int) -> Int {
        guard let first = range.first.map({ paths[$0] }), let last = range.last.map({ paths[$0] }) else { return depth }
        var end = depth + 1
        while end < first.count, end < last.count, first[end] == last[end] { end += 1 }
        return end
    }
}
