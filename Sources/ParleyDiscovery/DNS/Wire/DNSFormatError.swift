/// Why bytes are not a DNS message, or a name cannot be one.
package struct DNSFormatError: Error, Sendable, Hashable, CustomStringConvertible {
    package enum Reason: String, Sendable {
        case endsEarly = "it ends before what its lengths and counts promise"
        case emptyLabel = "a label inside the name is empty"
        case labelTooLong = "a label has more than 63 bytes"
        case nameTooLong = "a name has more than 255 bytes"
        case unknownLabelKind = "a label begins with bits that nobody has defined"
        case badPointer = "a pointer does not lead to an earlier name"
        case tooManyPointers = "a name is made of too many pointers"
        case badRecordData = "a record's data is not what its type says"
        case misplacedOPT = "an OPT record is not where, or as often as, it may be"
        case trailingBytes = "something follows the last record"
    }

    package var reason: Reason
    /// Where in the message, or in the name's text.
    package var offset: Int

    package init(_ reason: Reason, at offset: Int) {
        self.reason = reason
        self.offset = offset
    }

    package var description: String { "not DNS at byte \(self.offset): \(self.reason.rawValue)" }
}
