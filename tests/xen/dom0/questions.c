/* DNS questions, cheaper to ask than to answer: `questions ADDRESS SECONDS UNDERWAY [CONNECTIONS]` keeps UNDERWAY of them under
 * way, over UDP or spread over so many TCP connections, and prints the answers a second and how many questions were lost.
 *
 * dnsperf in an emulated first domain takes about a millisecond for each question, several times what the guest takes to
 * answer: it measures itself. Here as many questions as answers came leave by one call: over UDP cut to datagrams by the
 * kernel (UDP_SEGMENT), with answers taken many a call, over TCP one after the other in the stream (RFC 7766 6.2.1.1). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
enum { HEAD = 12, LONGEST = 512, UNDERWAY_MAX = 60, CONNECTIONS_MAX = 60, PATIENCE_MS = 500 };

/* example.test SOA, and A of a name that is there and of one that is not: bursts take them in turn. */
static const char *const NAMES[] = {"\7example\4test", "\3www\7example\4test", "\7nothing\7example\4test"};
static const uint8_t TYPES[] = {6, 1, 1}, CODES[] = {0, 0, 3};
enum { KINDS = 3 };

static struct sockaddr_in guest = {.sin_family = AF_INET};
static uint16_t next_id;
static uint8_t kind_of[1 << 16], out[1 << 16];
static unsigned long good, lost;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Writes `count` questions of the next kind to `burst`, each behind its length when `framed`; gives the length of one. */
static size_t questions(uint8_t *burst, int count, int framed) {
    static int kind;
    kind = (kind + 1) % KINDS;
    size_t name = strlen(NAMES[kind]) + 1, length = HEAD + name + 4, step = length + (framed ? 2 : 0);
    memset(burst, 0, count * step);
    for (int at = 0; at < count; at++) {
        uint8_t *question = burst + at * step;
        uint16_t id = next_id++;
        if (framed) {
            question[1] = length;
            question += 2;
        }
        question[0] = id >> 8;
        question[1] = id;
        question[5] = 1;
        memcpy(question + HEAD, NAMES[kind], name);
        question[HEAD + name + 1] = TYPES[kind];
        question[HEAD + name + 3] = 1;
        kind_of[id] = kind;
        out[id] = 1;
    }
    return step;
}

/* Whether these bytes answer a question that is out, as they should. */
static int answers(const uint8_t *bytes, size_t length) {
    uint16_t id = bytes[0] << 8 | bytes[1];
    if (length <= HEAD || !(bytes[2] & 0x80) || !out[id]) return 0;
    if ((bytes[3] & 15) != CODES[kind_of[id]]) {
        fprintf(stderr, "questions: a wrong answer, code %d\n", bytes[3] & 15);
        exit(1);
    }
    out[id] = 0;
    return 1;
}

static void send_datagrams(int link, int count) {
    static uint8_t burst[UNDERWAY_MAX * 64];
    uint16_t segment = questions(burst, count, 0);
    struct iovec bytes = {burst, count * segment};
    union { char room[CMSG_SPACE(2)]; struct cmsghdr head; } control;
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    control.head = (struct cmsghdr){.cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(2)};
    memcpy(CMSG_DATA(&control.head), &segment, sizeof segment);
    if (sendmsg(link, &message, 0) < 0) fail("questions: sendmsg");
}

static void ask_by_datagrams(double end, int underway) {
    struct timeval patience = {.tv_usec = PATIENCE_MS * 1000};
    int link = socket(AF_INET, SOCK_DGRAM, 0);
    if (connect(link, (void *)&guest, sizeof guest)) fail("questions: connect");
    setsockopt(link, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    static uint8_t room[UNDERWAY_MAX][LONGEST];
    struct iovec places[UNDERWAY_MAX];
    struct mmsghdr messages[UNDERWAY_MAX];
    memset(messages, 0, sizeof messages);
    for (int at = 0; at < UNDERWAY_MAX; at++) {
        places[at] = (struct iovec){room[at], LONGEST};
        messages[at].msg_hdr = (struct msghdr){.msg_iov = &places[at], .msg_iovlen = 1};
    }
    send_datagrams(link, underway);
    while (now() < end) {
        int came = recvmmsg(link, messages, UNDERWAY_MAX, MSG_WAITFORONE, NULL);
        int answered = 0;
        for (int at = 0; at < came; at++) answered += answers(room[at], messages[at].msg_len);
        good += answered;
        if (came < 0) { /* Nothing for so long: what is out is lost. */
            memset(out, 0, sizeof out);
            lost += underway;
            answered = underway;
        }
        if (answered > 0) send_datagrams(link, answered);
    }
}

/* A connection and what of an answer has come. */
struct stream {
    uint8_t bytes[1 << 16];
    size_t length;
};

static void send_stream(int link, int count) {
    static uint8_t burst[UNDERWAY_MAX * 64];
    size_t length = count * questions(burst, count, 1);
    if (send(link, burst, length, MSG_NOSIGNAL) != (ssize_t)length) fail("questions: send");
}

/* Takes what came; how many whole answers it was. */
static int take_stream(int link, struct stream *stream) {
    ssize_t came = recv(link, stream->bytes + stream->length, sizeof stream->bytes - stream->length, 0);
    if (came <= 0) fail("questions: a connection ended");
    stream->length += came;
    size_t at = 0;
    int answered = 0;
    while (stream->length - at >= 2) {
        size_t length = stream->bytes[at] << 8 | stream->bytes[at + 1];
        if (stream->length - at < 2 + length) break;
        answered += answers(stream->bytes + at + 2, length);
        at += 2 + length;
    }
    memmove(stream->bytes, stream->bytes + at, stream->length - at);
    stream->length -= at;
    return answered;
}

static void ask_by_streams(double end, int underway, int connections) {
    static struct stream streams[CONNECTIONS_MAX];
    struct pollfd links[CONNECTIONS_MAX];
    for (int at = 0; at < connections; at++) {
        int link = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
        setsockopt(link, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        if (connect(link, (void *)&guest, sizeof guest)) fail("questions: connect");
        links[at] = (struct pollfd){.fd = link, .events = POLLIN};
        send_stream(link, underway / connections);
    }
    while (now() < end) {
        if (poll(links, connections, PATIENCE_MS) <= 0) {
            fprintf(stderr, "questions: no answer over TCP for %d ms\n", PATIENCE_MS);
            exit(1);
        }
        for (int at = 0; at < connections; at++) {
            int answered = links[at].revents ? take_stream(links[at].fd, &streams[at]) : 0;
            good += answered;
            if (answered > 0) send_stream(links[at].fd, answered);
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 4 && argc != 5) return 2;
    double seconds = atof(argv[2]);
    int underway = atoi(argv[3]), connections = argc == 5 ? atoi(argv[4]) : 0;
    if (underway < 1 || underway > UNDERWAY_MAX || connections < 0 || connections > CONNECTIONS_MAX || connections > underway) return 2;
    guest.sin_port = htons(53);
    if (inet_pton(AF_INET, argv[1], &guest.sin_addr) != 1) return 2;
    double start = now();
    if (connections)
        ask_by_streams(start + seconds, underway, connections);
    else
        ask_by_datagrams(start + seconds, underway);
    printf("%.1f answers a second, %lu lost\n", good / (now() - start), lost);
    return good == 0;
}
