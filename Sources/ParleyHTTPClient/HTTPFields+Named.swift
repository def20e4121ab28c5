internal import HTTPTypes

extension HTTPFields {
    /// The field of this name, several of them joined as the standard says. A name that no field can have reads as
    /// absent and is not written.
    subscript(named name: String) -> String? {
        get { HTTPField.Name(name).flatMap { self[$0] } }
        set {
            if let name = HTTPField.Name(name) { self[name] = newValue }
        }
    }
}
