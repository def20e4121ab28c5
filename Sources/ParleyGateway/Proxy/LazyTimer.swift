internal import NIOCore

/// One deadline that moves often and is seldom reached.
///
/// A timer of the event loop for each wait would cost more than the wait's own work. This one stays where it is when
/// the deadline moves away from it, and looks again when it goes off. Bound to its event loop.
final class LazyTimer {
    private let eventLoop: any EventLoop
    /// Called when the deadline has come.
    var onDeadline: (() -> Void)?
    private var deadline: NIODeadline?
    private var scheduled: Scheduled<Void>?
    private var scheduledFor = NIODeadline.distantFuture

    init(_ eventLoop: any EventLoop, onDeadline: (() -> Void)? = nil) {
        self.eventLoop = eventLoop
        self.onDeadline = onDeadline
    }

    func set(milliseconds: Int) {
        self.set(.now() + .milliseconds(Int64(milliseconds)))
    }

    func set(_ deadline: NIODeadline) {
        self.deadline = deadline
        if self.scheduled != nil, self.scheduledFor <= deadline { return }
        self.scheduled?.cancel()
        self.schedule(deadline)
    }

    func clear() { self.deadline = nil }

    /// Lets go of the owner; it is not called any more.
    func stop() {
        self.deadline = nil
        self.scheduled?.cancel()
        self.scheduled = nil
    }

    private func schedule(_ deadline: NIODeadline) {
        self.scheduledFor = deadline
        let timer = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.scheduled = self.eventLoop.scheduleTask(deadline: deadline) { timer.value.goesOff() }
    }

    private func goesOff() {
        self.scheduled = nil
        guard let deadline = self.deadline else { return }
        if NIODeadline.now() >= deadline {
            self.deadline = nil
            self.onDeadline?()
        } else {
            self.schedule(deadline)
        }
    }
}
