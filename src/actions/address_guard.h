// The SSRF guard: which addresses a webhook may reach. It judges the address that is connected to,
// after name resolution, so a name that resolves to a private address (or changes between look-up
// and connect) does not get through.
#pragma once

#include <sys/socket.h>

namespace wheeltapper::actions {

// False for loopback, private (RFC 1918), shared (RFC 6598), link-local, unique-local (RFC 4193),
// unspecified, multicast and reserved addresses, also when wrapped in IPv6 (mapped, 6to4, NAT64),
// and for anything that is not IP.
bool IsPublicAddress(const sockaddr* address);

}  // namespace wheeltapper::actions
