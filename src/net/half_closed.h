// Who is still there behind a connection within this machine whose other end has said that it sends
// no more.
//
// Thread: any; nothing blocks.
#pragma once

namespace exo::net {

// Is the other end's socket still open in some process? A program that has only closed its sending
// side may still read; one that has closed the socket, or has ended, looks the same on the wire
// until something is sent to it, and only the kernel's table of connections tells them apart. False
// where that cannot be told: the other end is not on this machine, or the table cannot be read.
bool PeerSocketIsOpen(int fd);

}  // namespace exo::net
