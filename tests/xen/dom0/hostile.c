/* A backend that breaks the protocol, in the real first domain: plays the other end of a network card or a disk through
 * grants, event channels and xenstore, as netback and blkback do, and then does one wrong thing.
 *   hostile net DOMAIN NUMBER WHAT      WHAT: count id page chain extra transmit frames
 *   hostile block DOMAIN NUMBER WHAT    WHAT: count id operation error
 *   hostile grants DOMAIN 0 WORD        maps every page that the domain grants; prints how many there are and hold WORD
 * Its nodes are below /local/domain/0/backend/hostile (run.py makes them). Linked with Debian's libraries, whose headers
 * are not needed. Layouts are those of Xen's io/ring.h, io/netif.h and io/blkif.h. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *xs_open(unsigned long flags);
void *xs_read(void *handle, uint32_t transaction, const char *path, unsigned *length);
int xs_write(void *handle, uint32_t transaction, const char *path, const void *data, unsigned length);
void *xengnttab_open(void *logger, unsigned flags);
void *xengnttab_map_grant_ref(void *gnttab, uint32_t domain, uint32_t reference, int protection);
int xengnttab_unmap(void *gnttab, void *address, uint32_t count);
void *xenevtchn_open(void *logger, unsigned flags);
int xenevtchn_bind_interdomain(void *evtchn, uint32_t domain, uint32_t port);
int xenevtchn_notify(void *evtchn, uint32_t port);

struct ring { volatile uint32_t request_producer, request_event, response_producer, response_event; };
struct net_answer { uint16_t id, offset, flags; int16_t status; };
struct block_answer { uint64_t id; uint8_t operation; int16_t status; };
enum { FIRST_SLOT = 64, MORE = 4, EXTRA = 8, READ = 1, BOTH_WAYS = 3, GRANTS_MAX = 2048, PAGE_BYTES = 4096 };

static void *store, *grants, *events;
static unsigned domain, number;
static const char *device;
static int port;

static char *front(const char *name) {
    char path[200];
    snprintf(path, sizeof path, "/local/domain/%u/device/%s/%u/%s", domain, device, number, name);
    return xs_read(store, 0, path, NULL);
}

static unsigned front_number(const char *name) {
    char *text = front(name);
    return text ? strtoul(text, NULL, 10) : 0;
}

static void set_state(const char *state) {
    char path[200];
    snprintf(path, sizeof path, "/local/domain/0/backend/hostile/%u/%u/state", domain, number);
    xs_write(store, 0, path, state, strlen(state));
}

static void *map(unsigned reference) {
    void *page = xengnttab_map_grant_ref(grants, domain, reference, BOTH_WAYS);
    if (!page) {
        fprintf(stderr, "hostile: grant %u of domain %u is not to be had\n", reference, domain);
        exit(1);
    }
    return page;
}

/* Waits until the front end is in `state`, and connects the event channel. */
static void meet(unsigned state) {
    for (int tries = 0; front_number("state") != state; tries++) {
        if (tries == 3000) exit(1);
        usleep(20000);
    }
    port = xenevtchn_bind_interdomain(events, domain, front_number("event-channel"));
    if (port < 0) exit(1);
}

/* Answers the next receive request; `id` -1 takes the right one. Gives the grant that came with the request. */
static uint32_t answer(struct ring *ring, int id, unsigned offset, unsigned flags, int status) {
    char *slot = (char *)ring + FIRST_SLOT + (ring->response_producer % 256) * 8;
    struct net_answer answer;
    uint16_t right;
    uint32_t grant;
    memcpy(&right, slot, 2);
    memcpy(&grant, slot + 4, 4);
    answer.id = id < 0 ? right : id;
    answer.offset = offset;
    answer.flags = flags;
    answer.status = status;
    memcpy(slot, &answer, sizeof answer);
    __sync_synchronize();
    ring->response_producer++;
    return grant;
}

/* Two thousand frames of any length and content: bad, but no breach of the protocol. */
static void frames(struct ring *ring) {
    for (int turn = 0; turn < 2000; turn++) {
        for (int tries = 0; ring->request_producer == ring->response_producer; tries++) {
            if (tries == 60000) exit(1);
            usleep(1000);
        }
        uint32_t grant;
        memcpy(&grant, (char *)ring + FIRST_SLOT + (ring->response_producer % 256) * 8 + 4, 4);
        unsigned char *page = map(grant);
        /* Half of them are random; half begin like IPv4 or IPv6 and go on at random, cut anywhere. */
        static const unsigned char starts[2][16] = {
            {2, 0, 0, 0, 0, 0x5a, 2, 0, 0, 0, 0, 9, 8, 0, 0x45}, {2, 0, 0, 0, 0, 0x5a, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60}};
        for (int at = 0; at < 200; at++) page[at] = rand();
        if (turn % 2) memcpy(page, starts[turn / 2 % 2], 15);
        xengnttab_unmap(grants, page, 1);
        answer(ring, -1, 0, turn % 3, turn % 4 ? rand() % 200 : rand() % 20);
        xenevtchn_notify(events, port);
    }
}

static void net(const char *what) {
    meet(4);
    struct ring *receive = map(front_number("rx-ring-ref"));
    struct ring *transmit = map(front_number("tx-ring-ref"));
    set_state("4");
    if (!strcmp(what, "count")) receive->response_producer += 1000;
    if (!strcmp(what, "id")) answer(receive, 9999, 0, 0, 60);
    if (!strcmp(what, "page")) answer(receive, -1, 4000, 0, 500);
    if (!strcmp(what, "chain"))
        for (int slot = 0; slot < 25; slot++) answer(receive, -1, 0, MORE, 4096);
    if (!strcmp(what, "extra")) {
        answer(receive, -1, 0, EXTRA, 60);
        answer(receive, 99, 0, 0, 0);
    }
    if (!strcmp(what, "transmit")) transmit->response_producer += 7;
    if (!strcmp(what, "frames")) frames(receive);
    xenevtchn_notify(events, port);
}

static void block(const char *what) {
    meet(3);
    struct ring *ring = map(front_number("ring-ref"));
    set_state("4");
    if (!strcmp(what, "count")) {
        ring->response_producer += 40;
        xenevtchn_notify(events, port);
        return;
    }
    for (;;) {
        for (int tries = 0; ring->request_producer == ring->response_producer; tries++) {
            if (tries == 30000) return;
            usleep(1000);
        }
        char *slot = (char *)ring + FIRST_SLOT + (ring->response_producer % 32) * 112;
        struct block_answer answer = {0};
        memcpy(&answer.id, slot + 8, 8);
        answer.operation = slot[0];
        if (!strcmp(what, "id")) answer.id ^= 0x5555;
        if (!strcmp(what, "operation")) answer.operation ^= 1;
        if (!strcmp(what, "error")) answer.status = -1;
        memcpy(slot, &answer, sizeof answer);
        __sync_synchronize();
        ring->response_producer++;
        xenevtchn_notify(events, port);
    }
}

/* Looks into everything that may be reached, without asking what it is for. */
static void look_for(const char *word) {
    unsigned pages = 0, found = 0;
    for (unsigned reference = 0; reference < GRANTS_MAX; reference++) {
        void *page = xengnttab_map_grant_ref(grants, domain, reference, READ);
        if (!page) continue;
        pages++;
        found += memmem(page, PAGE_BYTES, word, strlen(word)) != NULL;
        xengnttab_unmap(grants, page, 1);
    }
    printf("%u pages, %u hold it\n", pages, found);
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    domain = strtoul(argv[2], NULL, 10);
    number = strtoul(argv[3], NULL, 10);
    store = xs_open(0);
    grants = xengnttab_open(NULL, 0);
    events = xenevtchn_open(NULL, 0);
    if (!store || !grants || !events) return 1;
    if (!strcmp(argv[1], "grants")) {
        look_for(argv[4]);
        return 0;
    }
    int is_net = !strcmp(argv[1], "net");
    device = is_net ? "vif" : "vbd";
    is_net ? net(argv[4]) : block(argv[4]);
    sleep(2);
    return 0;
}
