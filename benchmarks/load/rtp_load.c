/* rtp_load: the phones of a benchmark. Every leg sends one RTP packet each 20 ms, and what comes back is measured.
 *
 * Reads from standard input one line for each leg:
 *
 *     HOST PORT RTCP_PORT ORIGIN [SEND_KEY RECEIVE_KEY]
 *
 * HOST:PORT (IPv4, one host for all) is the port of the relay under test that this leg sends to, and that the packets
 * for this leg come from; RTCP_PORT takes its sender reports (0: none are sent). ORIGIN is the number of the leg, from
 * 0, whose packets the relay sends to this one. The keys are master key and salt of AES_CM_128_HMAC_SHA1_80
 * (RFC 4568 6.2) in hexadecimal, 60 digits each; a leg with keys sends no RTCP.
 *
 * Leg i has RTP port FIRST + 2 * (i % SOCKETS) of the address bound, and RTCP on the port above. By default there are
 * forty pairs of sockets: forty legs on, the next one shares its socket, so that one sendmmsg() serves every leg of a
 * slot (--sockets: a multiple of forty, for relays that tell legs by their address). The 20 ms are forty slots with absolute
 * deadlines, so the load is even and the generator costs little. Time stamps of what arrives are the kernel's
 * (SO_TIMESTAMPNS), taken when the relay sent it: how late this process reads does not count.
 *
 * Prints one JSON object; times in microseconds. "latency" is from sendmmsg() to the kernel's time stamp. "off" is the
 * distance of a packet from its stream's own grid: RTP timestamps laid on the clock, at the stream's median. Packets
 * count whose number lies between warm-up and end. CPU times are the scheduler's, for all threads of the processes
 * named by --pid, over the same span.
 */
#define _GNU_SOURCE
#define OPENSSL_SUPPRESS_DEPRECATED /* SHA1_Update: a copied context is the cheapest HMAC there is */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    BEAT_NS = 20000000,    /* one packet of each leg */
    SLOTS = 40,            /* of a beat, 500 us each */
    MAX_SOCKETS = 4000,    /* pairs */
    CHUNK = 16,            /* packets of one sendmmsg(), so that its time is theirs */
    BATCH = 64,            /* packets of one recvmmsg() */
    RING = 512,            /* beats whose time of sending is kept: 10 s */
    HEADER = 12,           /* RFC 3550 5.1, without CSRC */
    AUDIO = 160,           /* octets: 20 ms of G.711 or G.722 */
    TAG = 10,              /* octets of the SRTP tag */
    LARGEST = 512,         /* octets; nothing that a relay sends us is longer */
    REPORT_BEATS = 250,    /* one RTCP report each 5 s (RFC 3550 6.2) */
    MAX_LEGS = 8192,
    MAX_PIDS = 8,
    BINS = 1000000,        /* of a histogram, 1 us each */
    MAGIC = 0x73677762,
};

struct srtp { /* one direction of one leg (RFC 3711) */
    EVP_CIPHER_CTX *cipher;
    SHA_CTX inner, outer; /* HMAC-SHA1 with the key already in it */
    uint8_t salt[14];
    uint32_t roll_over_counter;
    uint16_t highest;
    bool started;
};

struct leg {
    struct sockaddr_in rtp, rtcp;
    int origin;
    bool secure;
    uint32_t ssrc;
    uint16_t sequence;
    uint32_t timestamp;
    struct srtp send, receive;
    int64_t sent_ns[RING]; /* of packet number n at n % RING; 0 once it has arrived */
    int64_t last_number;   /* the highest that has arrived here, -1 before the first */
    int64_t first_ns;      /* the grid's origin */
    uint32_t first_timestamp;
    int32_t *off;          /* us from the grid, of each packet counted */
    int offs;
};

struct histogram {
    uint32_t bins[BINS];
    uint64_t count;
    int64_t max;
};

static struct options {
    const char *bind;
    int port, seconds, warmup, cpu, priority, payload_type, sockets;
    bool opaque;
    int pids[MAX_PIDS], pid_count;
} options = {.bind = "127.0.0.1", .port = 40000, .seconds = 8, .warmup = 3, .cpu = -1, .priority = 0,
             .sockets = SLOTS};

static struct leg *legs;
static int leg_count;
static int rtp_sockets[MAX_SOCKETS], rtcp_sockets[MAX_SOCKETS];
static int leg_of_port[65536]; /* by the relay's port; -1: nobody's */
static struct histogram latency, off_grid, own_lateness;
static uint64_t sent, send_failures, received, duplicates, reordered, misrouted, foreign, forged, counted;
static uint64_t rtcp_sent, rtcp_received;

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...) {
    va_list words;
    va_start(words, format);
    fputs("rtp_load: ", stderr);
    vfprintf(stderr, format, words);
    fputc('\n', stderr);
    exit(1);
}

static int64_t now_ns(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void record(struct histogram *into, int64_t ns) {
    int64_t us = ns < 0 ? 0 : ns / 1000;
    into->bins[us < BINS ? us : BINS - 1]++;
    into->count++;
    if (us > into->max)
        into->max = us;
}

static int64_t quantile(const struct histogram *of, double part) {
    uint64_t wanted = (uint64_t)(part * (double)of->count), seen = 0;
    for (int us = 0; us < BINS; us++)
        if ((seen += of->bins[us]) > wanted)
            return us;
    return of->max;
}

static void put16(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)(value >> 8), at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value) {
    put16(at, (uint16_t)(value >> 16)), put16(at + 2, (uint16_t)value);
}

static uint16_t get16(const uint8_t *at) {
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at) {
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

/* --- SRTP, AES_CM_128_HMAC_SHA1_80 ------------------------------------------------------------------------------- */

static void aes_counter(EVP_CIPHER_CTX *cipher, const uint8_t iv[16], uint8_t *data, int length) {
    int done;
    if (!EVP_EncryptInit_ex(cipher, NULL, NULL, NULL, iv) || !EVP_EncryptUpdate(cipher, data, &done, data, length))
        fail("AES failed");
}

static EVP_CIPHER_CTX *aes_with(const uint8_t key[16]) {
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    if (!cipher || !EVP_EncryptInit_ex(cipher, EVP_aes_128_ctr(), NULL, key, NULL))
        fail("AES-128-CTR is not to be had");
    return cipher;
}

static void derive(EVP_CIPHER_CTX *master, const uint8_t salt[14], uint8_t label, uint8_t *key, int length) {
    uint8_t iv[16] = {0}; /* RFC 3711 4.3.1 with a key derivation rate of 0 */
    memcpy(iv, salt, 14);
    iv[7] ^= label;
    memset(key, 0, (size_t)length);
    aes_counter(master, iv, key, length);
}

static void hmac_key(SHA_CTX *context, const uint8_t key[20], uint8_t padding) {
    uint8_t block[64];
    memset(block, padding, sizeof block);
    for (int i = 0; i < 20; i++)
        block[i] ^= key[i];
    SHA1_Init(context);
    SHA1_Update(context, block, sizeof block);
}

static void srtp_open(struct srtp *context, const char *hexadecimal) {
    uint8_t master[30], key[20];
    if (strlen(hexadecimal) != 60)
        fail("a key has 60 hexadecimal digits");
    for (int i = 0; i < 30; i++)
        if (sscanf(hexadecimal + 2 * i, "%2hhx", &master[i]) != 1)
            fail("a key is not hexadecimal");
    EVP_CIPHER_CTX *deriving = aes_with(master);
    derive(deriving, master + 16, 0x00, key, 16);
    context->cipher = aes_with(key);
    derive(deriving, master + 16, 0x01, key, 20);
    hmac_key(&context->inner, key, 0x36);
    hmac_key(&context->outer, key, 0x5c);
    derive(deriving, master + 16, 0x02, context->salt, 14);
    EVP_CIPHER_CTX_free(deriving);
}

static void srtp_crypt(struct srtp *context, uint8_t *packet, int length, uint32_t roll_over_counter) {
    uint8_t iv[16] = {0}; /* RFC 3711 4.1.1: salt, SSRC and index, each 16 bits up */
    memcpy(iv, context->salt, 14);
    for (int i = 0; i < 4; i++) {
        iv[4 + i] ^= packet[8 + i];
        iv[8 + i] ^= (uint8_t)(roll_over_counter >> (24 - 8 * i));
    }
    iv[12] ^= packet[2], iv[13] ^= packet[3];
    aes_counter(context->cipher, iv, packet + HEADER, length - HEADER);
}

static void srtp_tag(const struct srtp *context, const uint8_t *packet, int length, uint32_t counter, uint8_t *tag) {
    uint8_t four[4], digest[20];
    SHA_CTX hash = context->inner;
    put32(four, counter);
    SHA1_Update(&hash, packet, (size_t)length);
    SHA1_Update(&hash, four, 4);
    SHA1_Final(digest, &hash);
    hash = context->outer;
    SHA1_Update(&hash, digest, 20);
    SHA1_Final(digest, &hash);
    memcpy(tag, digest, TAG);
}

static int srtp_protect(struct srtp *context, uint8_t *packet, int length) {
    uint16_t sequence = get16(packet + 2);
    if (context->started && sequence < context->highest) /* ours only ever count up */
        context->roll_over_counter++;
    context->started = true, context->highest = sequence;
    srtp_crypt(context, packet, length, context->roll_over_counter);
    srtp_tag(context, packet, length, context->roll_over_counter, packet + length);
    return length + TAG;
}

static int srtp_unprotect(struct srtp *context, uint8_t *packet, int length) {
    uint8_t tag[TAG];
    uint16_t sequence = get16(packet + 2);
    uint32_t counter = context->roll_over_counter;
    if ((length -= TAG) < HEADER)
        return -1;
    int distance = context->started ? sequence - context->highest : 0;
    if (distance < -32768) /* RFC 3711 appendix A */
        counter++;
    else if (distance > 32768)
        counter--;
    srtp_tag(context, packet, length, counter, tag);
    if (memcmp(tag, packet + length, TAG) != 0)
        return -1;
    if (!context->started || counter > context->roll_over_counter ||
        (counter == context->roll_over_counter && sequence > context->highest))
        context->roll_over_counter = counter, context->highest = sequence;
    context->started = true;
    srtp_crypt(context, packet, length, counter);
    return length;
}

/* --- sending ----------------------------------------------------------------------------------------------------- */

static int build_packet(int index, int64_t number, uint8_t *packet) {
    struct leg *leg = &legs[index];
    packet[0] = 0x80;
    packet[1] = (uint8_t)options.payload_type;
    put16(packet + 2, leg->sequence++);
    put32(packet + 4, leg->timestamp);
    put32(packet + 8, leg->ssrc);
    leg->timestamp += AUDIO;
    uint8_t *audio = packet + HEADER;
    put32(audio, MAGIC);
    put32(audio + 4, (uint32_t)index);
    put32(audio + 8, (uint32_t)number);
    for (int i = 12; i < AUDIO; i++)
        audio[i] = (uint8_t)(0x40 + (i * 37 + index + number * 11) % 128);
    int length = HEADER + AUDIO;
    return leg->secure ? srtp_protect(&leg->send, packet, length) : length;
}

static void send_from(int sock, int64_t number, bool counts) {
    static uint8_t packets[CHUNK][HEADER + AUDIO + TAG];
    struct mmsghdr messages[CHUNK];
    struct iovec vectors[CHUNK];
    for (int index = sock; index < leg_count;) {
        int count = 0, first = index;
        for (; count < CHUNK && index < leg_count; index += options.sockets, count++) {
            vectors[count].iov_base = packets[count];
            vectors[count].iov_len = (size_t)build_packet(index, number, packets[count]);
            memset(&messages[count], 0, sizeof messages[count]);
            messages[count].msg_hdr.msg_name = &legs[index].rtp;
            messages[count].msg_hdr.msg_namelen = sizeof legs[index].rtp;
            messages[count].msg_hdr.msg_iov = &vectors[count];
            messages[count].msg_hdr.msg_iovlen = 1;
        }
        int64_t time = now_ns(CLOCK_REALTIME);
        for (int i = 0; i < count; i++)
            legs[first + i * options.sockets].sent_ns[number % RING] = time;
        int done = 0;
        while (done < count) {
            int more = sendmmsg(rtp_sockets[sock], messages + done, (unsigned)(count - done), 0);
            if (more > 0) {
                done += more;
            } else { /* ECONNREFUSED, ENOBUFS: this one is lost */
                send_failures++;
                done++;
            }
        }
        if (counts)
            sent += (uint64_t)count;
    }
}

static void send_slot(int slot, int64_t number, bool counts) {
    for (int sock = slot; sock < options.sockets; sock += SLOTS)
        send_from(sock, number, counts);
}

static void send_reports(int slot, int64_t number) {
    for (int index = slot; index < leg_count; index += SLOTS) {
        struct leg *leg = &legs[index];
        if (leg->secure || leg->rtcp.sin_port == 0 || (number + index / SLOTS) % REPORT_BEATS != 0)
            continue;
        uint8_t report[28 + 16] = {0x80, 200, 0, 6}; /* RFC 3550 6.4.1, then 6.5 with one CNAME */
        int64_t time = now_ns(CLOCK_REALTIME);
        put32(report + 4, leg->ssrc);
        put32(report + 8, (uint32_t)(time / 1000000000 + 2208988800));
        put32(report + 12, (uint32_t)((time % 1000000000 << 32) / 1000000000));
        put32(report + 16, leg->timestamp);
        put32(report + 20, (uint32_t)(number + 1));
        put32(report + 24, (uint32_t)(number + 1) * AUDIO);
        uint8_t *names = report + 28;
        names[0] = 0x81, names[1] = 202, names[3] = 3;
        put32(names + 4, leg->ssrc);
        names[8] = 1, names[9] = 4;
        memcpy(names + 10, "load", 4);
        struct sockaddr *to = (struct sockaddr *)&leg->rtcp;
        if (sendto(rtcp_sockets[index % options.sockets], report, sizeof report, 0, to, sizeof leg->rtcp) > 0)
            rtcp_sent++;
    }
}

/* --- receiving --------------------------------------------------------------------------------------------------- */

static void lay_on_grid(struct leg *leg, const uint8_t *packet, int64_t arrived) {
    uint32_t timestamp = get32(packet + 4);
    if (leg->offs == 0)
        leg->first_ns = arrived, leg->first_timestamp = timestamp;
    if (leg->offs > options.seconds * 50 + 50)
        return;
    int64_t due = leg->first_ns + (int64_t)(int32_t)(timestamp - leg->first_timestamp) * (BEAT_NS / AUDIO);
    leg->off[leg->offs++] = (int32_t)((arrived - due) / 1000);
}

static void arrived_from(int index, uint8_t *packet, int length, int64_t arrived, int64_t from, int64_t to) {
    struct leg *leg = &legs[index];
    if (leg->secure && (length = srtp_unprotect(&leg->receive, packet, length)) < 0) {
        forged++;
        return;
    }
    counted++;
    if (options.opaque) {
        if (from < 0)
            return;
        received++;
        lay_on_grid(leg, packet, arrived);
        return;
    }
    const uint8_t *audio = packet + HEADER;
    if (length < HEADER + 12 || get32(audio) != MAGIC) {
        foreign++; /* silence, before the agent's echo or in place of it */
        return;
    }
    int64_t number = get32(audio + 8);
    if ((int)get32(audio + 4) != leg->origin) {
        misrouted++;
        return;
    }
    int64_t *sent_at = &legs[leg->origin].sent_ns[number % RING];
    if (*sent_at == 0) {
        duplicates++;
        return;
    }
    if (number < leg->last_number)
        reordered++;
    else
        leg->last_number = number;
    if (number >= from && number < to && from >= 0) {
        received++;
        record(&latency, arrived - *sent_at);
        lay_on_grid(leg, packet, arrived);
    }
    *sent_at = 0;
}

static int64_t kernel_time(struct msghdr *message) {
    for (struct cmsghdr *each = CMSG_FIRSTHDR(message); each; each = CMSG_NXTHDR(message, each))
        if (each->cmsg_level == SOL_SOCKET && each->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec time;
            memcpy(&time, CMSG_DATA(each), sizeof time);
            return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
        }
    return now_ns(CLOCK_REALTIME);
}

/* Take all there is of one socket. [from, to) are the numbers that count; from is -1 before and after that time. */
static void drain(int descriptor, bool rtcp, int64_t from, int64_t to) {
    static uint8_t packets[BATCH][LARGEST];
    static char controls[BATCH][CMSG_SPACE(sizeof(struct timespec))];
    static struct mmsghdr messages[BATCH];
    static struct iovec vectors[BATCH];
    static struct sockaddr_in sources[BATCH];
    for (int count = BATCH; count == BATCH;) {
        for (int i = 0; i < BATCH; i++) {
            vectors[i] = (struct iovec){packets[i], LARGEST};
            messages[i].msg_hdr = (struct msghdr){
                .msg_name = &sources[i], .msg_namelen = sizeof sources[i], .msg_iov = &vectors[i], .msg_iovlen = 1,
                .msg_control = controls[i], .msg_controllen = sizeof controls[i]};
        }
        count = recvmmsg(descriptor, messages, BATCH, MSG_DONTWAIT, NULL);
        for (int i = 0; i < count; i++) {
            int length = (int)messages[i].msg_len;
            if (rtcp) {
                rtcp_received++;
                continue;
            }
            int index = leg_of_port[ntohs(sources[i].sin_port)];
            if (index < 0 || length < HEADER || packets[i][0] >> 6 != 2)
                continue;
            arrived_from(index, packets[i], length, kernel_time(&messages[i].msg_hdr), from, to);
        }
    }
}

static void drain_all(int polled, int64_t from, int64_t to) {
    struct epoll_event events[2 * SLOTS];
    int count = epoll_wait(polled, events, 2 * SLOTS, 0);
    for (int i = 0; i < count; i++) {
        int which = (int)events[i].data.u32;
        bool rtcp = which >= MAX_SOCKETS;
        drain(rtcp ? rtcp_sockets[which - MAX_SOCKETS] : rtp_sockets[which], rtcp, from, to);
    }
}

/* --- setting up -------------------------------------------------------------------------------------------------- */

static void read_options(int count, char **words) {
    static const struct option known[] = {
        {"bind", 1, NULL, 'b'}, {"port", 1, NULL, 'p'},     {"seconds", 1, NULL, 's'},      {"warmup", 1, NULL, 'w'},
        {"cpu", 1, NULL, 'c'},  {"priority", 1, NULL, 'r'}, {"payload-type", 1, NULL, 't'}, {"pid", 1, NULL, 'i'},
        {"opaque", 0, NULL, 'o'}, {"sockets", 1, NULL, 'k'}, {0}};
    for (int letter; (letter = getopt_long(count, words, "", known, NULL)) != -1;) {
        int number = optarg ? atoi(optarg) : 0;
        switch (letter) {
        case 'b': options.bind = optarg; break;
        case 'p': options.port = number; break;
        case 's': options.seconds = number; break;
        case 'w': options.warmup = number; break;
        case 'c': options.cpu = number; break;
        case 'r': options.priority = number; break;
        case 't': options.payload_type = number; break;
        case 'k': options.sockets = number; break;
        case 'o': options.opaque = true; break;
        case 'i':
            if (options.pid_count == MAX_PIDS)
                fail("at most %d processes", MAX_PIDS);
            options.pids[options.pid_count++] = number;
            break;
        default: fail("see the head of rtp_load.c");
        }
    }
    if (options.seconds < 1 || options.seconds > 600 || options.warmup < 0 || options.warmup > 60)
        fail("--seconds is 1 to 600, --warmup 0 to 60");
    if (options.sockets < SLOTS || options.sockets > MAX_SOCKETS || options.sockets % SLOTS)
        fail("--sockets is a multiple of %d, at most %d", SLOTS, MAX_SOCKETS);
    if (options.port < 1024 || options.port > 65534 - 2 * options.sockets || options.port % 2)
        fail("--port is an even port with %d more above it", 2 * options.sockets - 1);
}

static struct sockaddr_in address(const char *host, int port) {
    struct sockaddr_in made = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &made.sin_addr) != 1)
        fail("%s is no IPv4 address", host);
    return made;
}

static void read_legs(void) {
    char line[512], host[64], send_key[64], receive_key[64];
    memset(leg_of_port, -1, sizeof leg_of_port);
    if (!(legs = calloc(MAX_LEGS, sizeof *legs)))
        fail("no memory for %d legs", MAX_LEGS);
    while (fgets(line, sizeof line, stdin)) {
        int port, rtcp_port, origin;
        int fields = sscanf(line, "%63s %d %d %d %63s %63s", host, &port, &rtcp_port, &origin, send_key, receive_key);
        if ((fields != 4 && fields != 6) || port < 1 || port > 65535 || rtcp_port < 0 || rtcp_port > 65535)
            fail("line %d is no leg: %s", leg_count + 1, line);
        if (leg_count == MAX_LEGS)
            fail("more than %d legs", MAX_LEGS);
        struct leg *leg = &legs[leg_count];
        leg->rtp = address(host, port);
        leg->rtcp = address(host, rtcp_port);
        leg->origin = origin;
        leg->secure = fields == 6;
        if (leg->secure) {
            srtp_open(&leg->send, send_key);
            srtp_open(&leg->receive, receive_key);
        }
        leg->ssrc = 0x10000000u + (uint32_t)leg_count;
        leg->sequence = (uint16_t)(leg_count * 131);
        leg->timestamp = (uint32_t)leg_count * 7919;
        leg->last_number = -1;
        leg->off = calloc((size_t)options.seconds * 50 + 52, sizeof *leg->off);
        if (!leg->off)
            fail("no memory");
        leg_of_port[port] = leg_count++;
    }
    for (int i = 0; i < leg_count; i++)
        if (legs[i].origin < 0 || legs[i].origin >= leg_count)
            fail("leg %d is told of a leg %d", i, legs[i].origin);
    if (leg_count == 0)
        fail("no legs on standard input");
}

static int open_socket(int port) {
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, room = 4 << 20;
    struct sockaddr_in here = address(options.bind, port);
    if (descriptor < 0 || bind(descriptor, (struct sockaddr *)&here, sizeof here) < 0)
        fail("%s:%d cannot be bound: %s", options.bind, port, strerror(errno));
    setsockopt(descriptor, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    if (setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    return descriptor;
}

static int open_sockets(void) {
    int polled = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < options.sockets; i++) {
        rtp_sockets[i] = open_socket(options.port + 2 * i);
        rtcp_sockets[i] = open_socket(options.port + 2 * i + 1);
        struct epoll_event rtp = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        struct epoll_event rtcp = {.events = EPOLLIN, .data.u32 = (uint32_t)(MAX_SOCKETS + i)};
        if (epoll_ctl(polled, EPOLL_CTL_ADD, rtp_sockets[i], &rtp) < 0 ||
            epoll_ctl(polled, EPOLL_CTL_ADD, rtcp_sockets[i], &rtcp) < 0)
            fail("epoll: %s", strerror(errno));
    }
    return polled;
}

static bool schedule(void) {
    if (options.cpu >= 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET((unsigned)options.cpu, &cores);
        if (sched_setaffinity(0, sizeof cores, &cores) < 0)
            fail("core %d cannot be had: %s", options.cpu, strerror(errno));
    }
    struct sched_param parameters = {.sched_priority = options.priority};
    return options.priority > 0 && sched_setscheduler(0, SCHED_FIFO, &parameters) == 0;
}

/* --- measuring --------------------------------------------------------------------------------------------------- */

static uint64_t cpu_ns(int pid) {
    char path[128];
    uint64_t total = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks)
        return 0;
    for (struct dirent *task; (task = readdir(tasks));) {
        unsigned long long ran;
        if (task->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", pid, task->d_name);
        FILE *file = fopen(path, "r");
        if (!file)
            continue;
        if (fscanf(file, "%llu", &ran) == 1)
            total += ran;
        fclose(file);
    }
    closedir(tasks);
    return total;
}

static int compare(const void *a, const void *b) {
    int32_t left = *(const int32_t *)a, right = *(const int32_t *)b;
    return (left > right) - (left < right);
}

static void judge_grids(void) {
    for (int i = 0; i < leg_count; i++) {
        struct leg *leg = &legs[i];
        if (leg->offs == 0)
            continue;
        qsort(leg->off, (size_t)leg->offs, sizeof *leg->off, compare);
        int32_t median = leg->off[leg->offs / 2];
        for (int k = 0; k < leg->offs; k++)
            record(&off_grid, llabs((long long)leg->off[k] - median) * 1000);
    }
}

static void print_times(const char *name, const struct histogram *of) {
    if (of->count)
        printf("  \"%s\": {\"p50\": %lld, \"p99\": %lld, \"max\": %lld},\n", name, (long long)quantile(of, 0.5),
               (long long)quantile(of, 0.99), (long long)of->max);
}

static double own_cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int count, char **words) {
    read_options(count, words);
    read_legs();
    int polled = open_sockets();
    bool real_time = schedule();
    int64_t from = options.warmup * 50, to = from + options.seconds * 50, last = to + 25;
    uint64_t before[MAX_PIDS] = {0}, used[MAX_PIDS] = {0};
    double own_before = 0, own_used = 0;
    int64_t start = now_ns(CLOCK_MONOTONIC) + 10000000, began = 0, elapsed = 0;
    for (int64_t number = 0; number < last; number++) { /* the last half second only listens */
        if (number == from) {
            for (int i = 0; i < options.pid_count; i++)
                before[i] = cpu_ns(options.pids[i]);
            own_before = own_cpu(), began = now_ns(CLOCK_MONOTONIC);
        } else if (number == to) {
            for (int i = 0; i < options.pid_count; i++)
                if ((used[i] = cpu_ns(options.pids[i])) < before[i])
                    fail("process %d has ended, or lost a thread, while it was measured", options.pids[i]);
                else
                    used[i] -= before[i];
            own_used = own_cpu() - own_before, elapsed = now_ns(CLOCK_MONOTONIC) - began;
        }
        bool counts = number >= from && number < to;
        int64_t counted_from = options.opaque && !counts ? -1 : from;
        for (int slot = 0; slot < SLOTS; slot++) {
            int64_t due = start + number * BEAT_NS + slot * (int64_t)(BEAT_NS / SLOTS);
            struct timespec until = {due / 1000000000, due % 1000000000};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
            if (number < to) {
                if (counts)
                    record(&own_lateness, now_ns(CLOCK_MONOTONIC) - due);
                send_slot(slot, number, counts);
                send_reports(slot, number);
            }
            drain_all(polled, counted_from, to);
        }
    }
    judge_grids();
    printf("{\n  \"legs\": %d, \"seconds\": %.4f, \"real_time\": %s,\n", leg_count, (double)elapsed / 1e9,
           real_time ? "true" : "false");
    printf("  \"sent\": %llu, \"received\": %llu, \"lost\": %lld, \"send_failures\": %llu,\n",
           (unsigned long long)sent, (unsigned long long)received, (long long)(sent - received),
           (unsigned long long)send_failures);
    printf("  \"duplicates\": %llu, \"reordered\": %llu, \"misrouted\": %llu, \"foreign\": %llu, \"forged\": %llu,\n",
           (unsigned long long)duplicates, (unsigned long long)reordered, (unsigned long long)misrouted,
           (unsigned long long)foreign, (unsigned long long)forged);
    printf("  \"rtcp_sent\": %llu, \"rtcp_received\": %llu, \"arrived\": %llu,\n", (unsigned long long)rtcp_sent,
           (unsigned long long)rtcp_received, (unsigned long long)counted);
    print_times("latency", &latency);
    print_times("off", &off_grid);
    print_times("generator_late", &own_lateness);
    printf("  \"generator_cpu\": %.4f,\n  \"cpu_seconds\": [", own_used);
    for (int i = 0; i < options.pid_count; i++)
        printf("%s%.6f", i ? ", " : "", (double)used[i] / 1e9);
    printf("]\n}\n");
    return 0;
}
