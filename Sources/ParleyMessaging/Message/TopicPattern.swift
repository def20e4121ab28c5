internal import ParleyCore

/// A binding as AMQP's topic exchanges have it: words separated by dots, `*` for exactly one word, `#` for any number
/// of words, none included. `order.*` takes `order.created`; `order.#` takes `order`, `order.created` and
/// `order.item.added`.
public struct TopicPattern: Sendable, Hashable, CustomStringConvertible {
    private enum Word: Hashable {
        case exactly(Substring)
        case one
        case anyNumber
    }

    /// The longest topic or pattern, in bytes: AMQP's short string.
    public static let maximumLength = 255

    public let description: String
    private let words: [Word]

    /// - Throws: ``MessagingError`` with ``MessagingError/Code/invalidPattern``.
    public init(_ pattern: String) throws {
        guard (1...Self.maximumLength).contains(pattern.utf8.count) else {
            throw MessagingError(
                .invalidPattern,
                "the pattern '\(pattern.prefix(40))' has \(pattern.utf8.count) bytes; use 1 to 255",
                retry: .permanent
            )
        }
        let words = pattern.split(separator: ".", omittingEmptySubsequences: false)
        guard words.allSatisfy({ !$0.isEmpty }) else {
            throw MessagingError(
                .invalidPattern,
                "the pattern '\(pattern)' has an empty word; write words between single dots",
                retry: .permanent
            )
        }
        self.description = pattern
        self.words = words.map { $0 == "*" ? .one : $0 == "#" ? .anyNumber : .exactly($0) }
    }

    /// Whether a message with this topic is taken.
    ///
    /// One pass with one point of return (the last `#`), so a hostile pattern costs at most words × words.
    public func matches(_ topic: some StringProtocol) -> Bool {
        let topicWords = topic.split(separator: ".", omittingEmptySubsequences: false)
        var position = 0
        var pattern = 0
        var lastAnyNumber: (pattern: Int, position: Int)?
        while position < topicWords.count {
            switch pattern < self.words.count ? self.words[pattern] : nil {
            case .anyNumber:
                lastAnyNumber = (pattern, position)
                pattern += 1
                continue
            case .one:
                pattern += 1
                position += 1
                continue
            case .exactly(let word) where word == topicWords[position]:
                pattern += 1
                position += 1
                continue
            case .exactly, nil:
                break
            }
            guard let point = lastAnyNumber else { return false }
            pattern = point.pattern + 1
            position = point.position + 1
            lastAnyNumber = (point.pattern, position)
        }
        return self.words[pattern...].allSatisfy { $0 == .anyNumber }
    }

    /// Checks a topic that is about to be published.
    ///
    /// - Throws: ``MessagingError`` with ``MessagingError/Code/invalidTopic``.
    public static func validate(topic: String) throws {
        let isValid =
            (1...self.maximumLength).contains(topic.utf8.count)
            && topic.split(separator: ".", omittingEmptySubsequences: false).allSatisfy {
                !$0.isEmpty && $0 != "*" && $0 != "#"
            }
        guard isValid else {
            throw MessagingError(
                .invalidTopic,
                "'\(topic.prefix(40))' is no topic: write 1 to 255 bytes of words between single dots, no wildcards",
                retry: .permanent
            )
        }
    }
}
