/// What is wrong with bytes that were read, or with a value that cannot be written.
package enum AMQPWireError: Error, Hashable {
    /// The bytes end inside a field.
    case truncated
    /// A frame is not finished by its end mark.
    case missingFrameEnd
    case unknownFrameType(UInt8)
    case unknownMethod(UInt32)
    case unknownValueType(UInt8)
    /// A frame announces more bytes than were agreed; it was refused before a byte of it was stored.
    case frameTooLarge(UInt32)
    /// The broker speaks another protocol: it answered with a protocol header.
    case otherProtocol
    /// Tables and arrays are nested deeper than ``WireReader/maximumDepth``.
    case tooDeep
    /// Bytes are left over behind the last field.
    case trailingBytes
    /// More than 255 bytes where the protocol counts in one.
    case shortStringTooLong(Int)
    case tableTooLarge
}
