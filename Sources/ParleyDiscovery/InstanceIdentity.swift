internal import Synchronization

/// Under which id others know this instance, once it does so itself.
package final class InstanceIdentity: Sendable {
    private let known: Mutex<ServiceInstance.ID?>

    package init(_ id: ServiceInstance.ID?) {
        self.known = Mutex(id)
    }

    package var id: ServiceInstance.ID? { self.known.withLock { $0 } }

    package func become(_ id: ServiceInstance.ID) { self.known.withLock { $0 = id } }

    /// Whether what names `meant` is for this instance, as far as can be said: what names nobody is.
    package func accepts(_ meant: String?) -> Bool {
        guard let meant, let id = self.id else { return true }
        return meant == id
    }
}
