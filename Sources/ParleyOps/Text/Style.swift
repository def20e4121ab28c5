/// Colours, where they are wanted.
public struct Style: Sendable {
    public var isColoured: Bool

    public init(isColoured: Bool) {
        self.isColoured = isColoured
    }

    enum Colour: String {
        case plain = ""
        case green = "32"
        case yellow = "33"
        case red = "31"
        case dim = "2"
        case bold = "1"
    }

    func paint(_ text: String, _ colour: Colour) -> String {
        guard self.isColoured, colour != .plain, !text.isEmpty else { return text }
        return "\u{1B}[\(colour.rawValue)m\(text)\u{1B}[0m"
    }
}

/// Columns that line up.
struct TextTable {
    struct Column {
        var title: String
        var isNumber = false
    }

    struct Cell {
        var text: String
        var colour: Style.Colour

        init(_ text: String, _ colour: Style.Colour = .plain) {
            self.text = text
            self.colour = colour
        }

        /// `-` for what is not known.
        init(_ value: Int?, _ colour: Style.Colour = .plain) {
            self.init(value.map { "\($0)" } ?? "-", colour)
        }
    }

    var columns: [Column]
    var rows: [[Cell]] = []

    func text(_ style: Style) -> String {
        var widths = self.columns.map(\.title.count)
        for row in self.rows {
            for (index, cell) in row.enumerated() where index < widths.count {
                widths[index] = max(widths[index], cell.text.count)
            }
        }
        func line(_ cells: [Cell]) -> String {
            var line = ""
            for (index, cell) in cells.enumerated() where index < widths.count {
                let space = String(repeating: " ", count: widths[index] - cell.text.count)
                let isLast = index == cells.count - 1
                let text = style.paint(cell.text, cell.colour)
                if index > 0 { line += "  " }
                line += self.columns[index].isNumber ? space + text : text + (isLast ? "" : space)
            }
            return line
        }
        let head = line(self.columns.map { Cell($0.title, .dim) })
        return ([head] + self.rows.map(line)).joined(separator: "\n")
    }
}
