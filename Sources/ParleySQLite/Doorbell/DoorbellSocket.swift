internal import ParleyCore
internal import Synchronization

#if canImport(Darwin)
internal import Darwin
#elseif canImport(Glibc)
internal import Glibc
#endif

/// One backend's socket, and the addresses of the others on the same file.
final class DoorbellSocket {
    let descriptor: CInt
    private let folder: String
    private let name: String
    private(set) var peers: [sockaddr_un] = []
    private var listed: (seconds: Int, nanoseconds: Int) = (0, 0)
    private var listedAt: UInt64 = 0

    /// Two backends in one process have two sockets.
    private static let count = Atomic<UInt32>(0)
    /// More would not be an embedded database any more.
    private static let maximumPeers = 256

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    static func failure(_ call: String) -> Failure {
        Failure(description: "\(call): \(String(cString: strerror(errno)))")
    }

    init(device: UInt64, inode: UInt64) throws {
        // Not $TMPDIR: two processes with different ones would not find each other.
        let user = "/tmp/parley-\(geteuid())"
        let folder = "\(user)/\(String(device, radix: 16))-\(String(inode, radix: 16))"
        let name = "\(getpid())-\(Self.count.add(1, ordering: .relaxed).newValue).sock"
        self.folder = folder
        self.name = name
        guard let address = Self.address("\(folder)/\(name)") else {
            throw Failure(description: "the path \(folder) is too long")
        }
        #if canImport(Darwin)
        self.descriptor = socket(AF_UNIX, SOCK_DGRAM, 0)
        #else
        self.descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        #endif
        guard self.descriptor >= 0 else { throw Self.failure("socket") }
        do {
            try Self.makePrivate(folder: user)
            try Self.bind(self.descriptor, to: address, in: folder, name)
        } catch {
            Glue.close(self.descriptor)
            throw error
        }
        // Finds out who is dead.
        _ = self.send(0)
    }

    private static func bind(_ descriptor: CInt, to address: sockaddr_un, in folder: String, _ name: String) throws {
        var tries = 0
        while true {
            try Self.makePrivate(folder: folder)
            // A dead process may have had the same number.
            unlink("\(folder)/\(name)")
            let bound = withUnsafePointer(to: address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    #if canImport(Darwin)
                    Darwin.bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                    #else
                    Glibc.bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                    #endif
                }
            }
            if bound == 0 { return }
            tries += 1
            // The last one to leave has just removed the folder.
            guard errno == ENOENT, tries < 10 else { throw Self.failure("bind") }
        }
    }

    /// Sends to all others; `false` when one has no room for it now. 0 rings nothing, and sweeps away the dead ones.
    func send(_ byte: UInt8) -> Bool {
        self.listPeersIfChanged()
        var hadRoom = true
        var dead: [Int] = []
        var payload = byte
        for index in self.peers.indices {
            let sent = withUnsafePointer(to: &self.peers[index]) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    sendto(
                        self.descriptor,
                        &payload,
                        1,
                        CInt(MSG_DONTWAIT),
                        $0,
                        socklen_t(MemoryLayout<sockaddr_un>.size)
                    )
                }
            }
            guard sent != 1 else { continue }
            switch errno {
            case EAGAIN, ENOBUFS: hadRoom = false
            case ECONNREFUSED, ENOENT:
                // Nobody is bound to it any more.
                unlink(Self.path(of: self.peers[index]))
                dead.append(index)
            default: break
            }
        }
        for index in dead.reversed() { self.peers.remove(at: index) }
        return hadRoom
    }

    func remove() {
        unlink("\(self.folder)/\(self.name)")
        _ = self.send(0)
        rmdir(self.folder)  // succeeds only for the last one
    }

    private func listPeersIfChanged() {
        var status = stat()
        guard stat(self.folder, &status) == 0 else {
            self.peers = []
            return
        }
        #if canImport(Darwin)
        let changed = (Int(status.st_mtimespec.tv_sec), Int(status.st_mtimespec.tv_nsec))
        #else
        let changed = (Int(status.st_mtim.tv_sec), Int(status.st_mtim.tv_nsec))
        #endif
        // A folder's time moves in ticks of some milliseconds: a newcomer within the same tick would stay unseen.
        let now = monotonicNanoseconds()
        let isSettled = now > self.listedAt &+ 1_000_000_000
        if changed == self.listed, !isSettled || self.wasSettled { return }
        self.wasSettled = changed == self.listed && isSettled
        self.listed = changed
        self.listedAt = now
        self.peers = self.listPeers()
    }

    /// Whether the folder was listed again a second after its last change was seen.
    private var wasSettled = false

    private func listPeers() -> [sockaddr_un] {
        guard let directory = opendir(self.folder) else { return [] }
        defer { closedir(directory) }
        var found: [sockaddr_un] = []
        while found.count < Self.maximumPeers, let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard name.hasSuffix(".sock"), name != self.name, let address = Self.address("\(self.folder)/\(name)")
            else {
                continue
            }
            found.append(address)
        }
        return found
    }

    /// Makes the folder, or makes sure that the one that is there belongs to this user alone: in /tmp everybody can
    /// make folders, and a stranger's sockets must not be rung or listened to.
    private static func makePrivate(folder: String) throws {
        if mkdir(folder, 0o700) == 0 { return }
        guard errno == EEXIST else { throw Self.failure("mkdir \(folder)") }
        var status = stat()
        guard lstat(folder, &status) == 0 else { throw Self.failure("stat \(folder)") }
        guard status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid(), status.st_mode & 0o077 == 0 else {
            throw Failure(description: "\(folder) is not a folder of this user alone; remove it")
        }
    }

    private static func address(_ path: String) -> sockaddr_un? {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let fits = withUnsafeMutableBytes(of: &address.sun_path) { buffer in
            guard bytes.count < buffer.count else { return false }
            buffer.copyBytes(from: bytes)
            return true
        }
        return fits ? address : nil
    }

    private static func path(of address: sockaddr_un) -> String {
        withUnsafeBytes(of: address.sun_path) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
