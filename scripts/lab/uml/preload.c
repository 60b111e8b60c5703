/* Preloaded into User-mode Linux. Two repairs, both of what it asks of the kernel below it:
 *
 * ptrace: it sets the extended CPU state of its processes from a buffer of the size it was built for. A kernel whose
 * own state is larger (AMX) refuses the short buffer, and the guest dies at boot. The buffer is widened here: the state
 * components that it does not hold go back to their initial value.
 *
 * socket: its packet sockets get room for a burst. With the default of some hundred frames, a guest that waits a few
 * milliseconds for a CPU loses packets, and the path under test looks lossy.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { XSTATE_BV = 512, COMPONENTS = 63, ROOM = 64 << 10, QUEUE = 8 << 20 };

/* The components that end within `length`; x87 and SSE (bits 0 and 1) always do. */
static uint64_t held_by(size_t length)
{
	uint64_t held = 3;
	for (unsigned i = 2; i < COMPONENTS; i++) {
		unsigned size, offset, c, d;
		if (__get_cpuid_count(0xd, i, &size, &offset, &c, &d) && size && offset + size <= length)
			held |= UINT64_C(1) << i;
	}
	return held;
}

typedef long tracer(enum __ptrace_request, pid_t, void *, void *);

static long set_state(tracer *real, enum __ptrace_request request, pid_t pid, void *kind, struct iovec *given)
{
	static _Alignas(64) unsigned char whole[ROOM];
	struct iovec wide = { whole, sizeof whole };
	uint64_t present;

	if (real(PTRACE_GETREGSET, pid, kind, &wide) || wide.iov_len <= given->iov_len || given->iov_len < XSTATE_BV + 64)
		return real(request, pid, kind, given);
	memset(whole + given->iov_len, 0, wide.iov_len - given->iov_len);
	memcpy(whole, given->iov_base, given->iov_len);
	memcpy(&present, whole + XSTATE_BV, sizeof present);
	present &= held_by(given->iov_len);
	memcpy(whole + XSTATE_BV, &present, sizeof present);
	return real(request, pid, kind, &wide);
}

long ptrace(enum __ptrace_request request, ...)
{
	static tracer *real;
	va_list list;

	va_start(list, request);
	pid_t pid = va_arg(list, pid_t);
	void *address = va_arg(list, void *);
	void *data = va_arg(list, void *);
	va_end(list);
	if (!real)
		real = (tracer *)dlsym(RTLD_NEXT, "ptrace");
	if (request == PTRACE_SETREGSET && (uintptr_t)address == NT_X86_XSTATE)
		return set_state(real, request, pid, address, data);
	return real(request, pid, address, data);
}

int socket(int domain, int type, int protocol)
{
	static int (*real)(int, int, int);
	int size = QUEUE, fd;

	if (!real)
		real = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
	fd = real(domain, type, protocol);
	if (fd >= 0 && domain == AF_PACKET) {
		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
		/* Protocol 0 is its sender, which it never reads. */
		if (!protocol)
			size = 1;
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	}
	return fd;
}
