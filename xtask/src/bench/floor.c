/*
 * A vfio-user server that does nothing but answer: what a guest waits for a register of it is what the protocol, the
 * socket and QEMU cost. Serves one client after the other on the UNIX socket that is its one argument, with one read
 * and one write a message, and blocks in between.
 *
 * The device: no interrupts, one I/O BAR of 8 bytes which hold zeros, 256 bytes of configuration space. Numbers and
 * layouts are the protocol's; descriptors that come with a message are not taken, so the kernel closes them.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { VERSION = 1, DMA_UNMAP = 3, GET_INFO = 4, GET_REGION_INFO = 5, GET_IRQ_INFO = 7, REGION_READ = 9, REGION_WRITE = 10 };
enum { REPLY = 1, NO_REPLY = 0x10 };
enum { BAR0 = 0, CONFIG = 7 };

struct header {
    uint16_t id, command;
    uint32_t size, flags, error;
};

struct access {
    uint64_t offset;
    uint32_t region, count;
};

struct message {
    struct header header;
    union {
        uint8_t bytes[8192];
        uint32_t words[8];
        struct access access;
    } body;
};

static uint8_t config[256] = {
    0x34, 0x12, 0xff, 0xff, /* a vendor of QEMU's, and a device that no driver knows */
    [0x0b] = 0xff,          /* of a class that is none */
    [0x10] = 0x01,          /* BAR 0 is I/O */
    [0x2c] = 0x34, 0x12, 0xff, 0xff,
};

/* Makes the message its own answer. Whether it makes sense is the client's business: it is our own QEMU. */
static void answer(struct message *it)
{
    uint32_t *words = it->body.words;
    struct access *access = &it->body.access;
    uint32_t size = 0;

    switch (it->header.command) {
    case VERSION:
        size = 4; /* as proposed, without capabilities */
        break;
    case GET_INFO:
        words[1] = 2; /* PCI */
        words[2] = 9;
        words[3] = 5;
        size = 16;
        break;
    case GET_REGION_INFO: {
        uint32_t region = words[2];
        uint32_t length = region == BAR0 ? 8 : region == CONFIG ? sizeof(config) : 0;
        memset(words, 0, 32);
        words[0] = 32;
        words[1] = length ? 3 : 0; /* readable, writable */
        words[2] = region;
        words[4] = length;
        size = 32;
        break;
    }
    case GET_IRQ_INFO:
        words[1] = words[3] = 0;
        size = 16;
        break;
    case REGION_READ: {
        uint8_t *data = it->body.bytes + sizeof(*access);
        size = access->count <= sizeof(config) ? access->count : 0;
        memset(data, 0, size);
        if (access->region == CONFIG && access->offset <= sizeof(config) - size)
            memcpy(data, config + access->offset, size);
        size += sizeof(*access);
        break;
    }
    case REGION_WRITE:
        /* The command register is kept, nothing else is. */
        if (access->region == CONFIG && access->offset == 4 && access->count == 2)
            memcpy(config + 4, it->body.bytes + sizeof(*access), 2);
        size = sizeof(*access);
        break;
    case DMA_UNMAP:
        size = 24;
        break;
    }
    it->header.size = sizeof(it->header) + size;
    it->header.flags = REPLY;
    it->header.error = 0;
}

static int serve(int client)
{
    static uint8_t buffer[1 << 16];
    static struct message it;
    size_t have = 0;

    for (;;) {
        ssize_t got = read(client, buffer + have, sizeof(buffer) - have);
        size_t at = 0;
        if (got <= 0)
            return 0;
        have += got;
        while (have - at >= sizeof(it.header)) {
            memcpy(&it.header, buffer + at, sizeof(it.header));
            if (it.header.size < sizeof(it.header) || it.header.size > sizeof(it))
                return -1;
            if (have - at < it.header.size)
                break;
            memcpy(&it, buffer + at, it.header.size);
            at += it.header.size;
            if (it.header.flags & NO_REPLY)
                continue;
            answer(&it);
            if (write(client, &it, it.header.size) != (ssize_t)it.header.size)
                return -1;
        }
        have -= at;
        memmove(buffer, buffer + at, have);
    }
}

int main(int count, char **arguments)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);

    if (count != 2 || strlen(arguments[1]) >= sizeof(address.sun_path)) {
        fprintf(stderr, "one argument: the path of a socket\n");
        return 2;
    }
    strcpy(address.sun_path, arguments[1]);
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1)) {
        perror(arguments[1]);
        return 1;
    }
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0 || serve(client) < 0) {
            fprintf(stderr, "a client is not served any longer\n");
            return 1;
        }
        close(client);
    }
}
