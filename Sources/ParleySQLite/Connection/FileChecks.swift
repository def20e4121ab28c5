internal import ParleyCore

#if canImport(Darwin)
internal import Darwin
#elseif canImport(Glibc)
internal import Glibc
#endif

/// What must hold of a path before SQLite is let near it.
///
/// Nothing here opens the database file: closing any descriptor of it drops the POSIX locks that SQLite holds on it
/// anywhere in this process.
enum FileChecks {
    /// The file, whether it is there or not yet.
    struct File {
        /// Absolute, links in the folder resolved.
        var path: String
        /// Present and not empty.
        var hasContent: Bool
    }

    static func check(_ path: String) throws -> File {
        func refuse(_ code: SQLiteError.Code, _ message: String) -> SQLiteError {
            SQLiteError(code, path: path, message)
        }
        guard !path.isEmpty, !path.hasPrefix(":"), !path.hasPrefix("file:"), !path.hasSuffix("/") else {
            throw refuse(.invalidPath, "name a file on disk; a database in memory cannot be shared or survive")
        }
        let (folder, name) = Self.split(path)
        try Self.makeFolder(folder)
        guard let resolved = realpath(folder, nil) else {
            throw refuse(.cannotOpen, "its folder: \(Self.reason())")
        }
        let absolute = String(cString: resolved) + "/" + name
        free(resolved)
        try Self.refuseNetworkFileSystem(folder, path)
        var status = stat()
        if stat(absolute, &status) != 0 {
            guard errno == ENOENT else { throw refuse(.cannotOpen, Self.reason()) }
            guard access(folder, W_OK | X_OK) == 0 else {
                throw refuse(.cannotOpen, "its folder cannot be written: \(Self.reason())")
            }
            return File(path: absolute, hasContent: false)
        }
        guard status.st_mode & S_IFMT != S_IFDIR else {
            throw refuse(.invalidPath, "this is a folder; name a file in it")
        }
        guard status.st_mode & S_IFMT == S_IFREG else { throw refuse(.invalidPath, "this is not a regular file") }
        guard access(absolute, R_OK | W_OK) == 0 else {
            throw refuse(.cannotOpen, "the file cannot be read and written: \(Self.reason())")
        }
        guard access(folder, W_OK | X_OK) == 0 else {
            throw refuse(.cannotOpen, "its folder must be writable too, for the log: \(Self.reason())")
        }
        return File(path: absolute, hasContent: status.st_size > 0)
    }

    /// Identifies the file among all of this machine.
    static func identity(_ path: String) -> (device: UInt64, inode: UInt64)? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return (UInt64(truncatingIfNeeded: status.st_dev), UInt64(truncatingIfNeeded: status.st_ino))
    }

    private static func split(_ path: String) -> (folder: String, name: String) {
        guard let slash = path.lastIndex(of: "/") else { return (".", path) }
        let folder = path[..<slash]
        return (folder.isEmpty ? "/" : String(folder), String(path[path.index(after: slash)...]))
    }

    private static func makeFolder(_ folder: String) throws {
        var made = folder.hasPrefix("/") ? "/" : ""
        for component in folder.split(separator: "/") {
            made += (made.isEmpty || made.hasSuffix("/") ? "" : "/") + component
            var status = stat()
            if stat(made, &status) == 0 {
                guard status.st_mode & S_IFMT == S_IFDIR else {
                    throw SQLiteError(.cannotOpen, path: folder, "\(made) is not a folder")
                }
                continue
            }
            guard mkdir(made, 0o755) == 0 || errno == EEXIST else {
                throw SQLiteError(.cannotOpen, path: folder, "the folder \(made) cannot be created: \(Self.reason())")
            }
        }
    }

    /// Linux' names of the file systems that other machines can write to at the same time.
    private static let networkFileSystems: Set<String> = [
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "ceph", "9p", "lustre", "beegfs", "gfs2",
        "ocfs2", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "virtiofs",
    ]

    private static func refuseNetworkFileSystem(_ folder: String, _ path: String) throws {
        guard let type = Self.fileSystemType(folder), Self.networkFileSystems.contains(type) else { return }
        throw SQLiteError(
            .networkFileSystem,
            path: path,
            "the folder is on a file system of type '\(type)', where SQLite's locks do not hold; use a local disk"
        )
    }

    /// From the kernel's list of mounts, because `statfs` is not in Swift's Glibc; `nil` where there is no such list.
    static func fileSystemType(_ folder: String) -> String? {
        var status = stat()
        guard stat(folder, &status) == 0, let mounts = fopen("/proc/self/mountinfo", "r") else { return nil }
        defer { fclose(mounts) }
        // Linux packs the device number as makedev(3) says.
        let device = UInt64(truncatingIfNeeded: status.st_dev)
        let major = (device >> 8) & 0xFFF | (device >> 32) & ~0xFFF
        let minor = device & 0xFF | (device >> 12) & ~0xFF
        let wanted = "\(major):\(minor)"
        var line = [CChar](repeating: 0, count: 4_096)
        while fgets(&line, CInt(line.count), mounts) != nil {
            // "36 35 98:0 /root /mnt options - ext3 …": the type is the first word after the lone dash.
            let text = line.withUnsafeBytes { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            let words = text.split(separator: " ")
            guard words.count > 2, words[2] == wanted, let dash = words.firstIndex(of: "-"), dash + 1 < words.count
            else {
                continue
            }
            return String(words[dash + 1])
        }
        return nil
    }

    private static func reason() -> String { String(cString: strerror(errno)) }
}
