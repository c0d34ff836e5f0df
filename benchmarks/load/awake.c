/* awake CORE: keep one core from halting, at SCHED_IDLE, below everything else that wants it.
 *
 * A virtual machine's core that halts is given away by the host. Waking it costs whoever wakes it an exit to the host,
 * and it comes back with a cold cache: more than a packet costs, and by chance. Kernels do the same with idle=poll or
 * cpuidle-haltpoll. Ends when its standard input does.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <sched.h>
#include <stdlib.h>

int main(int count, char **words) {
    cpu_set_t cores;
    struct sched_param none = {0};
    struct pollfd end = {.fd = 0, .events = POLLIN};
    CPU_ZERO(&cores);
    CPU_SET(count > 1 ? atoi(words[1]) : 0, &cores);
    if (sched_setaffinity(0, sizeof cores, &cores) || sched_setscheduler(0, SCHED_IDLE, &none))
        return 1;
    while (poll(&end, 1, 0) == 0)
        for (int turn = 0; turn < 20000; turn++)
#ifdef __x86_64__
            __builtin_ia32_pause(); /* leaves the sibling thread of a physical core alone */
#else
            __asm__ volatile("" ::: "memory");
#endif
    return 0;
}
