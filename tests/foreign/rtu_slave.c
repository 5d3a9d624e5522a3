/* A Modbus RTU slave that is not ours: libmodbus, on the serial line it is given, as the unit it is given.
 * Each holding register shows its own address, each input register the address plus 1000; every third
 * coil and every second discrete input is on. There are 200 of each. */
#include <modbus/modbus.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    uint8_t request[MODBUS_RTU_MAX_ADU_LENGTH];
    modbus_mapping_t *cells = modbus_mapping_new(200, 200, 200, 200);
    modbus_t *line = argc == 3 ? modbus_new_rtu(argv[1], 9600, 'N', 8, 1) : NULL;

    if (!line || !cells || modbus_set_slave(line, atoi(argv[2])) || modbus_connect(line)) {
        perror("rtu_slave");
        return 1;
    }
    for (int i = 0; i < 200; i++) {
        cells->tab_registers[i] = i;
        cells->tab_input_registers[i] = 1000 + i;
        cells->tab_bits[i] = i % 3 == 0;
        cells->tab_input_bits[i] = i % 2 == 0;
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        int length = modbus_receive(line, request);
        if (length > 0)
            modbus_reply(line, request, length, cells);
    }
}
