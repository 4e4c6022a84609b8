/* DNS questions over UDP, cheaper to ask than to answer: `questions ADDRESS SECONDS UNDERWAY` keeps UNDERWAY of them under way
 * and prints the answers a second and how many questions were lost.
 *
 * dnsperf in an emulated first domain takes about a millisecond for each question, several times what the guest takes to
 * answer: it measures itself. Here as many questions as answers came leave by one call, cut to datagrams by the kernel
 * (UDP_SEGMENT), and answers are taken many a call. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
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
enum { HEAD = 12, LONGEST = 512, UNDERWAY_MAX = 60 };

/* example.test SOA, and A of a name that is there and of one that is not: bursts take them in turn. */
static const char *const NAMES[] = {"\7example\4test", "\3www\7example\4test", "\7nothing\7example\4test"};
static const uint8_t TYPES[] = {6, 1, 1}, CODES[] = {0, 0, 3};
enum { KINDS = 3 };

static int link_to_guest;
static uint16_t next_id;
static uint8_t kind_of[1 << 16], out[1 << 16];

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* Sends `count` questions of the next kind by one call. */
static void ask(int count) {
    static uint8_t burst[UNDERWAY_MAX * 64];
    static int kind;
    kind = (kind + 1) % KINDS;
    size_t name = strlen(NAMES[kind]) + 1, length = HEAD + name + 4;
    for (int at = 0; at < count; at++) {
        uint8_t *question = burst + at * length;
        uint16_t id = next_id++;
        memset(question, 0, length);
        question[0] = id >> 8;
        question[1] = id;
        question[5] = 1;
        memcpy(question + HEAD, NAMES[kind], name);
        question[HEAD + name + 1] = TYPES[kind];
        question[HEAD + name + 3] = 1;
        kind_of[id] = kind;
        out[id] = 1;
    }
    struct iovec bytes = {burst, count * length};
    union { char room[CMSG_SPACE(2)]; struct cmsghdr head; } control;
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    uint16_t segment = length;
    control.head = (struct cmsghdr){.cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(2)};
    memcpy(CMSG_DATA(&control.head), &segment, sizeof segment);
    if (sendmsg(link_to_guest, &message, 0) < 0) {
        perror("questions: sendmsg");
        exit(1);
    }
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

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    double seconds = atof(argv[2]);
    int underway = atoi(argv[3]);
    if (underway < 1 || underway > UNDERWAY_MAX) return 2;
    struct sockaddr_in guest = {.sin_family = AF_INET, .sin_port = htons(53)};
    struct timeval patience = {.tv_sec = 0, .tv_usec = 500000};
    link_to_guest = socket(AF_INET, SOCK_DGRAM, 0);
    if (inet_pton(AF_INET, argv[1], &guest.sin_addr) != 1 || connect(link_to_guest, (void *)&guest, sizeof guest)) return 1;
    setsockopt(link_to_guest, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);

    static uint8_t room[UNDERWAY_MAX][LONGEST];
    struct iovec places[UNDERWAY_MAX];
    struct mmsghdr messages[UNDERWAY_MAX];
    memset(messages, 0, sizeof messages);
    for (int at = 0; at < UNDERWAY_MAX; at++) {
        places[at] = (struct iovec){room[at], LONGEST};
        messages[at].msg_hdr = (struct msghdr){.msg_iov = &places[at], .msg_iovlen = 1};
    }
    double start = now(), end = start + seconds;
    unsigned long good = 0, lost = 0;
    ask(underway);
    while (now() < end) {
        int came = recvmmsg(link_to_guest, messages, UNDERWAY_MAX, MSG_WAITFORONE, NULL);
        int answered = 0;
        for (int at = 0; at < came; at++) answered += answers(room[at], messages[at].msg_len);
        good += answered;
        if (came < 0) { /* Nothing for half a second: what is out is lost. */
            memset(out, 0, sizeof out);
            lost += underway;
            answered = underway;
        }
        if (answered > 0) ask(answered);
    }
    printf("%.1f answers a second, %lu lost\n", good / (now() - start), lost);
    return good == 0;
}
